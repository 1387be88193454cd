package listen

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// lookEvery is how often a handshake looks whether the files have changed.
const lookEvery = time.Second

// expiresSoon is when a certificate should have been renewed; those of automatic authorities
// are renewed weeks before.
const expiresSoon = 7 * 24 * time.Hour

// A keyPair is a certificate and its key, read again when either file changes.
// Handshakes do the looking, at most once a second: there is nothing to start
// or stop, and symbolic links that are turned to new files (as Kubernetes does
// with secrets) are followed. A pair that cannot be read, or of which only one
// half has been replaced so far, leaves the old one in use.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger

	mu struct {
		sync.Mutex
		pair   *tls.Certificate
		stamp  [2]stamp
		looked time.Time
		failed string // last error told, so that it is told once
		judged string // last verdict on the certificate, likewise
	}
}

// A stamp tells one content of a file from the next. Files that replace each other
// may have the same size and, as archives of builds that can be repeated give them, the same time.
type stamp struct {
	modified, changed time.Time
	size              int64
	device, inode     uint64
}

func newKeyPair(certFile, keyFile string, log *slog.Logger) (*keyPair, error) {
	k := &keyPair{certFile: certFile, keyFile: keyFile, log: log}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.load(); err != nil {
		return nil, err
	}
	k.mu.looked = time.Now()
	k.judge(k.mu.looked)
	return k, nil
}

// certificate is a tls.Config's GetCertificate.
func (k *keyPair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.mu.looked) >= lookEvery {
		k.mu.looked = now
		k.refresh()
		k.judge(now)
	}
	return k.mu.pair, nil
}

// refresh loads the files if they changed. The caller holds the lock.
func (k *keyPair) refresh() {
	now, err := k.stamps()
	if err == nil {
		if now == k.mu.stamp {
			return
		}
		err = k.load()
	}
	if err != nil {
		if err.Error() != k.mu.failed {
			k.mu.failed = err.Error()
			k.log.Error("tls: the certificate in use stays, since the new one cannot be read", "error", err)
		}
		return
	}
	k.mu.failed = ""
	k.log.Info("tls: certificate reloaded", "file", k.certFile, "expires", k.mu.pair.Leaf.NotAfter)
}

// judge tells, once, of a certificate that clients will not take. The caller holds the lock.
func (k *keyPair) judge(now time.Time) {
	leaf, level, verdict := k.mu.pair.Leaf, slog.LevelError, ""
	switch {
	case now.After(leaf.NotAfter):
		verdict = "tls: the certificate has expired"
	case now.Before(leaf.NotBefore):
		verdict = "tls: the certificate is not valid yet"
	case now.Add(expiresSoon).After(leaf.NotAfter):
		level, verdict = slog.LevelWarn, "tls: the certificate expires soon"
	}
	if verdict != k.mu.judged {
		if k.mu.judged = verdict; verdict != "" {
			k.log.Log(context.Background(), level, verdict, "file", k.certFile, "from", leaf.NotBefore, "to", leaf.NotAfter)
		}
	}
}

// load reads both files. The caller holds the lock.
func (k *keyPair) load() error {
	// Stamps first: a change while the files are read is then seen next time.
	stamps, err := k.stamps()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		return fmt.Errorf("tls: load %s and %s: %w", k.certFile, k.keyFile, err)
	}
	k.mu.pair, k.mu.stamp = &pair, stamps
	return nil
}

func (k *keyPair) stamps() (s [2]stamp, err error) {
	for i, name := range [2]string{k.certFile, k.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return s, fmt.Errorf("tls: %w", err)
		}
		s[i] = stamp{modified: info.ModTime(), size: info.Size()}
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			s[i].changed, s[i].device, s[i].inode = time.Unix(sys.Ctim.Unix()), sys.Dev, sys.Ino
		}
	}
	return s, nil
}
