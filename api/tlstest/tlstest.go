// Package tlstest makes certificates for tests: a private authority and pairs
// that it signs. Its keys lie unprotected beside them; nothing but a test should
// trust them.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"crier.local/api"
)

// Authority signs certificates. Its methods are safe for concurrent use, for
// different names.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair says what a certificate holds. The zero value is good for both sides of
// a connection on this host, for the next day.
type Pair struct {
	// Hosts are the names and addresses that it is valid for. nil: localhost,
	// 127.0.0.1 and ::1.
	Hosts []string
	// URI is its identity, as in spiffe://example.org/alice. "": its identity is
	// the name, as the common name.
	URI string
	// NotBefore and NotAfter bound its validity. Zero: an hour ago, and in a day.
	NotBefore, NotAfter time.Time
}

// New makes an authority whose certificate is ca.pem in dir, which it creates
// if there is none. Its key stays in memory.
func New(dir string) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template, err := newTemplate("Crier test authority", Pair{})
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, key: key}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return a, write(a.CA(), "CERTIFICATE", der)
}

// CA returns the path of the authority's certificate.
func (a *Authority) CA() string { return filepath.Join(a.dir, "ca.pem") }

// Issue writes a certificate and its key as name.pem and name.key beside ca.pem,
// and returns the three. Files of that name are replaced, each in one step.
func (a *Authority) Issue(name string, o Pair) (api.TLSFiles, error) {
	files := api.TLSFiles{CA: a.CA(), Cert: filepath.Join(a.dir, name+".pem"), Key: filepath.Join(a.dir, name+".key")}
	key, err := newKey()
	if err != nil {
		return files, err
	}
	template, err := newTemplate(name, o)
	if err != nil {
		return files, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return files, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return files, err
	}
	if err := write(files.Key, "PRIVATE KEY", secret); err != nil {
		return files, err
	}
	return files, write(files.Cert, "CERTIFICATE", der)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newTemplate returns what is the same for every certificate.
func newTemplate(name string, o Pair) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: o.NotBefore, NotAfter: o.NotAfter,
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().Add(24 * time.Hour)
	}
	if o.URI != "" {
		uri, err := url.Parse(o.URI)
		if err != nil {
			return nil, fmt.Errorf("identity of %s: %w", name, err)
		}
		t.URIs = []*url.URL{uri}
	}
	o.addHosts(t)
	return t, nil
}

func (o Pair) addHosts(t *x509.Certificate) {
	hosts := o.Hosts
	if hosts == nil {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
}

// write replaces a file, so that whoever reads it sees the old or the new.
func write(path, kind string, der []byte) error {
	temporary := path + ".new"
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(temporary, block, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
