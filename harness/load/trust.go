package load

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

// Trust says which certificates of a server a client accepts. The zero value:
// those that the system's authorities vouch for.
type Trust struct {
	CA       string // PEM file of authorities, or of the server's own certificate, instead of the system's
	Insecure bool   // any certificate: what is sent can be read by whoever stands between
}

// ClientConfig is for connections that speak HTTP/1.1. Sessions are not resumed:
// each new connection costs a whole handshake, as a new client's does.
func (t Trust) ClientConfig() (*tls.Config, error) {
	c := &tls.Config{
		NextProtos: []string{"http/1.1"}, InsecureSkipVerify: t.Insecure,
		// Small first records help a browser that draws what came so far; here they are more system calls.
		DynamicRecordSizingDisabled: true,
	}
	if t.CA == "" {
		return c, nil
	}
	if t.Insecure {
		return nil, errors.New("a CA file says whom to trust, insecure trusts everybody: give one of them")
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s: it has no certificate in PEM", t.CA)
	}
	return c, nil
}

// At is the target at a URL: http://host[:port] or https://host[:port], by
// default port 80 or 443.
func (t Target) At(where string, trust Trust) (Target, error) {
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return t, fmt.Errorf("%q: want http://host[:port] or https://host[:port]", where)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return t, fmt.Errorf("%q: want %s://%s alone, without a path, a query or a user", where, u.Scheme, u.Host)
	}
	port := u.Port()
	if u.Scheme == "http" {
		if trust != (Trust{}) {
			return t, fmt.Errorf("%q: a CA file or insecure is for https://, plain HTTP has no certificates", where)
		}
		if port == "" {
			port = httpPort
		}
		t.Address, t.TLS = net.JoinHostPort(u.Hostname(), port), nil
		return t, nil
	}
	if port == "" {
		port = httpsPort
	}
	t.Address = net.JoinHostPort(u.Hostname(), port)
	t.TLS, err = trust.ClientConfig()
	return t, err
}

const httpPort, httpsPort = "80", "443"

// host is what the Host header says: without the scheme's own port, as clients
// write it and sign it (RFC 9110, section 7.2).
func (t Target) host() string {
	own := httpPort
	if t.TLS != nil {
		own = httpsPort
	}
	return strings.TrimSuffix(t.Address, ":"+own)
}

// Untrusted: the connection failed because the server's certificate is not
// accepted; name: because it is for other names than the one that was called.
func Untrusted(err error) (untrusted, name bool) {
	var refused *tls.CertificateVerificationError
	var hosts x509.HostnameError
	return errors.As(err, &refused), errors.As(err, &hosts)
}
