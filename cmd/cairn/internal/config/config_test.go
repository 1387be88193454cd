package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// load runs flags, environment and a file's text as the server does.
func load(t *testing.T, args, environ []string, yaml string) (*Settings, []string, error) {
	t.Helper()
	s := new(Settings)
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	s.Flags(fs)
	if yaml != "" {
		file := filepath.Join(t.TempDir(), "cairn.yaml")
		require.NoError(t, os.WriteFile(file, []byte(yaml), 0o600))
		args = append(args, "--config", file)
	}
	require.NoError(t, fs.Parse(args))
	unknown, err := s.Load(environ)
	return s, unknown, err
}

func TestPrecedence(t *testing.T) {
	for _, c := range []struct {
		name       string
		args, env  []string
		yaml, want string
	}{
		{"default", nil, nil, "", ":9000"},
		{"file", nil, nil, "address: :1", ":1"},
		{"environment over file", nil, []string{"CAIRN_ADDRESS=:2"}, "address: :1", ":2"},
		{"flag over all", []string{"--address=:3"}, []string{"CAIRN_ADDRESS=:2"}, "address: :1", ":3"},
		{"flag over file", []string{"--address=:3"}, nil, "address: :1", ":3"},
		{"an empty variable is unset", nil, []string{"CAIRN_ADDRESS="}, "address: :1", ":1"},
		{"a flag that repeats the default still weighs more", []string{"--address=:9000"}, []string{"CAIRN_ADDRESS=:2"}, "", ":9000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, err := load(t, append(c.args, "--data", "d"), c.env, c.yaml)
			require.NoError(t, err)
			require.Equal(t, c.want, s.Address)
		})
	}
}

func TestEverySettingIsReachableFromEverywhere(t *testing.T) {
	s, _, err := load(t, nil, []string{
		"CAIRN_DATA=/var/lib/cairn", "CAIRN_SHUTDOWN_TIMEOUT=5s", "CAIRN_ACCESS_LOG=true", "CAIRN_MAX_REQUESTS=7", "CAIRN_DOMAIN=a.example,b.example",
	}, "region: eu-west-1\nmetrics-token: 0123456789abcdef\nlog-level: debug\nslow-request: 0s\nroot-user: someone\nroot-password: something\n")
	require.NoError(t, err)
	require.Equal(t, []string{"/var/lib/cairn"}, s.Data)
	require.Equal(t, 5*time.Second, s.ShutdownTimeout)
	require.True(t, s.AccessLog)
	require.Equal(t, 7, s.MaxRequests)
	require.Equal(t, []string{"a.example", "b.example"}, s.Domains)
	require.Equal(t, "eu-west-1", s.Region)
	require.Equal(t, "0123456789abcdef", s.MetricsToken)
	require.Equal(t, "debug", s.LogLevel)
	require.Zero(t, s.SlowRequest)
	require.Equal(t, "someone", s.RootUser)

	s, _, err = load(t, nil, nil, "data: [only]\ndomain:\n  - a.example.\n  - ' b.example'\n")
	require.NoError(t, err)
	require.Equal(t, []string{"only"}, s.Data)
	require.Equal(t, []string{"a.example", "b.example"}, s.Domains)
}

func TestRootCredentials(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("from-a-file\n"), 0o600))
	for _, c := range []struct {
		name     string
		env      []string
		yaml     string
		user, pw string
	}{
		{"ours", []string{"CAIRN_ROOT_USER=us", "CAIRN_ROOT_PASSWORD=pw"}, "", "us", "pw"},
		{"MinIO's", []string{"MINIO_ROOT_USER=m", "MINIO_ROOT_PASSWORD=mp"}, "", "m", "mp"},
		{"ours weigh more", []string{"MINIO_ROOT_USER=m", "MINIO_ROOT_PASSWORD=mp", "CAIRN_ROOT_USER=us", "CAIRN_ROOT_PASSWORD=pw"}, "", "us", "pw"},
		{"half of MinIO's beside ours", []string{"MINIO_ROOT_USER=m", "CAIRN_ROOT_USER=us", "CAIRN_ROOT_PASSWORD=pw"}, "", "us", "pw"},
		{"the user in the file, the password elsewhere", []string{"CAIRN_ROOT_PASSWORD=pw"}, "root-user: y", "y", "pw"},
		{"variables weigh more than the file", []string{"MINIO_ROOT_USER=m", "MINIO_ROOT_PASSWORD=mp"}, "root-user: y\nroot-password: yp", "m", "mp"},
		{"from files", []string{"CAIRN_ROOT_USER=us", "CAIRN_ROOT_PASSWORD_FILE=" + secret}, "", "us", "from-a-file"},
		{"MinIO's from files", []string{"MINIO_ROOT_USER=m", "MINIO_ROOT_PASSWORD_FILE=" + secret}, "", "m", "from-a-file"},
		{"none", nil, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, unknown, err := load(t, []string{"--data", "d"}, c.env, c.yaml)
			require.NoError(t, err)
			require.Empty(t, unknown)
			require.Equal(t, c.user, s.RootUser)
			require.Equal(t, c.pw, s.RootPassword)
		})
	}
}

// What MinIO's variables have set is set here, unless ours say otherwise.
func TestMinIOsVariables(t *testing.T) {
	minio := []string{"MINIO_SITE_REGION=eu-1", "MINIO_DOMAIN=a.example.com,b.example.com", "MINIO_API_CORS_ALLOW_ORIGIN=https://a,https://*.b"}
	s, unknown, err := load(t, []string{"--data", "d"}, minio, "region: file-1")
	require.NoError(t, err)
	require.Empty(t, unknown)
	require.Equal(t, "eu-1", s.Region)
	require.Equal(t, []string{"a.example.com", "b.example.com"}, s.Domains)
	require.Equal(t, []string{"https://a", "https://*.b"}, s.Origins)
	s, _, err = load(t, []string{"--data", "d"}, append(minio, "CAIRN_REGION=us-1", "CAIRN_CORS_ALLOW_ORIGIN=off"), "")
	require.NoError(t, err)
	require.Equal(t, "us-1", s.Region)
	require.Equal(t, []string{OriginsOff}, s.Origins)
	s, _, err = load(t, []string{"--data", "d"}, nil, "cors-allow-origin: [\"https://a\", null://b]")
	require.NoError(t, err)
	require.Equal(t, []string{"https://a", "null://b"}, s.Origins)
}

func TestMistakesAreNamed(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	data := []string{"--data", "d"}
	for _, c := range []struct {
		name      string
		args, env []string
		yaml      string
		want      string
	}{
		{"no data", nil, nil, "", "--data ./data"},
		{"MinIO's ellipses", []string{"--data", "/mnt/d{1...4}"}, nil, "", `"/mnt/d{1...4}" stands for several directories: this version keeps its data on one drive`},
		{"MinIO's ellipses within", nil, []string{"CAIRN_DATA=/mnt/d{a...f}/x"}, "", "erasure coding, which is not built yet"},
		{"our user with MinIO's pair", data, []string{"CAIRN_ROOT_USER=x", "MINIO_ROOT_USER=m", "MINIO_ROOT_PASSWORD=mp"}, "", "root-user is set and root-password is not"},
		{"our password with MinIO's pair", data, []string{"CAIRN_ROOT_PASSWORD=x", "MINIO_ROOT_USER=m", "MINIO_ROOT_PASSWORD=mp"}, "", "root-password is set and root-user is not"},
		{"half of MinIO's with a pair in the file", data, []string{"MINIO_ROOT_USER=m"}, "root-user: y\nroot-password: yp", "MINIO_ROOT_USER is set and MINIO_ROOT_PASSWORD is not"},
		{"the other half", data, []string{"MINIO_ROOT_PASSWORD=mp"}, "root-user: y\nroot-password: yp", "MINIO_ROOT_PASSWORD is set and MINIO_ROOT_USER is not"},
		{"a number of another base", data, []string{"CAIRN_MAX_REQUESTS=0x10"}, "", "in decimal digits"},
		{"several drives", []string{"--data", "a", "--data", "b"}, nil, "", "erasure coding, which is not built yet"},
		{"unknown key", data, nil, "address: :1\nadress: :2\n", `cairn.yaml:2: there is no setting "adress"`},
		{"the file cannot name another", data, nil, "config: other.yaml\n", `no setting "config"`},
		{"key twice", data, nil, "address: :1\naddress: :2\n", "already set in line 1"},
		{"no mapping", data, nil, "- a\n", "must be settings"},
		{"nested", data, nil, "address: {a: b}\n", "plain value"},
		{"null", data, nil, "address:\n", "has no value"},
		{"null in a list", nil, nil, "data: [null]\n", "has no value"},
		{"null in a list, short", nil, nil, "data: [~]\n", "has no value"},
		{"bad duration in file", data, nil, "\nidle-timeout: soon\n", "cairn.yaml:2: idle-timeout"},
		{"bad number in environment", data, []string{"CAIRN_MAX_REQUESTS=many"}, "", "CAIRN_MAX_REQUESTS"},
		{"password alone", data, []string{"CAIRN_ROOT_PASSWORD=x"}, "", "belong together"},
		{"cert alone", []string{"--data", "d", "--tls-cert", "c"}, nil, "", "belong together"},
		{"value and file", data, []string{"CAIRN_ROOT_USER=u", "CAIRN_ROOT_USER_FILE=" + empty}, "", "choose one"},
		{"empty secret file", data, []string{"CAIRN_ROOT_USER_FILE=" + empty}, "", "is empty"},
		{"absent secret file", data, []string{"CAIRN_ROOT_USER_FILE=" + dir + "/none"}, "", "no such file"},
		{"absent file", append(data, "--config", dir+"/none"), nil, "", "no such file"},
		{"log level", append(data, "--log-level", "loud"), nil, "", "debug, info, warn or error"},
		{"negative", append(data, "--slow-request", "-1s"), nil, "", "slow-request"},
		{"zero", append(data, "--shutdown-timeout", "0"), nil, "", "shutdown-timeout"},
		{"address", append(data, "--address", "nonsense"), nil, "", `address: "nonsense": must be host:port`},
		{"port", append(data, "--address", ":99999"), nil, "", "0 to 65535"},
		{"admin port", append(data, "--admin-address", "127.0.0.1:abcde"), nil, "", "admin-address"},
		{"region", append(data, "--region", "x/y"), nil, "", `region: "x/y"`},
		{"origin without a scheme", append(data, "--cors-allow-origin", "app.example.com"), nil, "", "cors-allow-origin"},
		{"origin with a path", append(data, "--cors-allow-origin", "https://a/b"), nil, "", "cors-allow-origin"},
		{"origin with two stars", append(data, "--cors-allow-origin", "https://*.a.*"), nil, "", "cors-allow-origin"},
		{"off and others", append(data, "--cors-allow-origin", "off,https://a"), nil, "", "cors-allow-origin"},
		{"domain with a scheme", append(data, "--domain", "http://x"), nil, "", `domain: "http://x"`},
		{"domain with a path", append(data, "--domain", "a/b"), nil, "", "a host's name alone"},
		{"domain of nothing", append(data, "--domain", "."), nil, "", "a host's name alone"},
		{"domain that begins with a dot", append(data, "--domain", ".s3.test"), nil, "", "a host's name alone"},
		{"a domain within another", append(data, "--domain", "test,S3.test"), nil, "", "domain: test and S3.test: one lies within the other"},
		{"a domain around another", append(data, "--domain", "s3.test,test"), nil, "", "domain: s3.test and test: one lies within the other"},
		{"a domain twice", append(data, "--domain", "s3.test,s3.test."), nil, "", "one lies within the other"},
		{"redis database", append(data, "--redis-url", "redis://h:6379/x"), nil, "", "redis-url"},
		{"redis port", append(data, "--redis-url", "redis://h:99999"), nil, "", "redis-url"},
		{"two documents", data, nil, "log-level: info\n---\nbogus: 1\n", "a second document"},
		{"list for one value", data, nil, "max-requests: [1, 2]\n", "takes one value"},
		{"short token", data, []string{"CAIRN_METRICS_TOKEN=short"}, "", "at least 16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, c.args, c.env, c.yaml)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestMisspeltVariablesAreTold(t *testing.T) {
	_, unknown, err := load(t, []string{"--data", "d"}, []string{"CAIRN_ADRESS=:1", "CAIRN_REGION=r", "PATH=/bin", "MINIO_ROOT_X=1"}, "")
	require.NoError(t, err)
	require.Equal(t, []string{"CAIRN_ADRESS"}, unknown)
}

func TestMinIOsVariablesThatAreNotHonouredAreTold(t *testing.T) {
	_, unknown, err := load(t, []string{"--data", "d"}, []string{"MINIO_ACCESS_KEY=a", "MINIO_SECRET_KEY=b", "MINIO_VOLUMES=/mnt", "MINIO_OPTS=x", "MINIO_SECRET_KEY_FILE="}, "")
	require.NoError(t, err)
	require.Equal(t, []string{"MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_VOLUMES"}, unknown)
	require.Contains(t, Instead("MINIO_SECRET_KEY"), "CAIRN_ROOT_PASSWORD")
	require.Empty(t, Instead("CAIRN_ADRESS"))
}

// 010 is ten, wherever it stands.
func TestNumbersAreDecimal(t *testing.T) {
	for _, c := range []struct {
		args, env []string
		yaml      string
	}{{args: []string{"--max-requests", "010"}}, {env: []string{"CAIRN_MAX_REQUESTS=010"}}, {yaml: "max-requests: 010\n"}} {
		s, _, err := load(t, append(c.args, "--data", "d"), c.env, c.yaml)
		require.NoError(t, err)
		require.Equal(t, 10, s.MaxRequests)
	}
}

// A password of which YAML makes something else is refused, and never shown.
func TestSecretsAreNotInErrors(t *testing.T) {
	for value, want := range map[string]string{
		"*secret": "cairn.yaml:2: a value that begins with * must be in quotes", "&secret x": "cairn.yaml:2: root-password: a value that begins with &",
		"!secret x": "cairn.yaml:2: root-password: a value that begins with !", "[*secret]": "begins with *", "{secret: x}": "plain value",
		"@secret": "cairn.yaml", "%secret": "cairn.yaml", "\"secret\\q\"": "cairn.yaml", "'secret": "cairn.yaml", "secret: x": "cairn.yaml",
	} {
		_, _, err := load(t, []string{"--data", "d"}, nil, "root-user: someone\nroot-password: "+value+"\n")
		require.ErrorContains(t, err, want, value)
		require.NotContains(t, err.Error(), "secret", value)
	}
	for _, value := range []string{"'*secret'", "!!str secret", "a*secret"} {
		_, _, err := load(t, []string{"--data", "d"}, nil, "root-user: someone\nroot-password: "+value+"\n")
		require.NoError(t, err, value)
	}
}

func TestSecretsAreNoFlags(t *testing.T) {
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	new(Settings).Flags(fs)
	require.Nil(t, fs.Lookup("root-password"))
	require.Nil(t, fs.Lookup("metrics-token"))
}

func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"address: :1\n", "data: [a, b]\n", "a: &x {b: *x}", "? [", "domain:\n - a\n - {b: c}\n", "\x00", "access-log: yes"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := new(Settings)
		s.Flags(pflag.NewFlagSet("server", pflag.ContinueOnError))
		_ = s.fromYAML("f", []byte(text)) // must not panic
	})
}
