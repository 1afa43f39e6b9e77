package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"crier.local/api"
	"crier.local/api/tlsfiles"
	"crier.local/client"
)

const (
	checkTLS = "tls"
	// renewAhead is how long before its end a certificate should be renewed.
	renewAhead = 14 * 24 * time.Hour
)

// tls tells of the files with which this process shows who it is over TCP, and of
// the provider's certificate.
func (d *doctor) tls(ctx context.Context) {
	over := d.target
	if over == (api.Endpoint{}) {
		over = d.r.address.Endpoint
	}
	none := d.r.tls == (api.TLSFiles{})
	switch {
	case over.Network != "tcp" && none:
		d.skip(checkTLS, "not used")
		return
	case over.Network == "tcp" && none:
		d.plain(over)
		return
	}
	if !d.files(time.Now()) || over.Network != "tcp" {
		return
	}
	switch {
	case d.reached():
		d.serverCertificate(ctx, over)
	case errors.Is(d.dialErr, client.ErrCertificate):
		what, fix := splitHint(flat(d.dialErr))
		d.tlsNoted = true
		d.fail(checkTLS, exitDenied, fix, nil, "%s", what)
	}
}

// plain tells of TCP without TLS.
func (d *doctor) plain(e api.Endpoint) {
	switch {
	case errors.Is(d.dialErr, client.ErrConfiguration):
		what, fix := splitHint(flat(d.dialErr))
		d.tlsNoted = true
		d.fail(checkTLS, exitConfig, fix, nil, "%s", what)
	case d.reached():
		d.ok(checkTLS, nil, "none: to %s in the clear, on this machine, as anonymous", e)
	default:
		d.skip(checkTLS, "no files are given (--tls-ca, --tls-cert, --tls-key)")
	}
}

// files tells of each file, and whether they go together; it reports whether TLS can
// be done with them.
func (d *doctor) files(now time.Time) (usable bool) {
	d.tlsNoted = true // unless all is well: nothing else is to be told then
	credentials, err := tlsfiles.Load(d.r.tls)
	if err != nil {
		d.fail(checkTLS, exitConfig, fileAdvice(d.r.tls, err), nil, "%v", err)
		return false
	}
	leaf := credentials.Pair.Leaf
	more := details{"cert": d.r.tls.Cert, "not_before": timeText(leaf.NotBefore), "not_after": timeText(leaf.NotAfter), "subject": subjectOf(leaf)}
	found := fmt.Sprintf("%s: for %s, valid until %s", d.r.tls.Cert, subjectOf(leaf), leaf.NotAfter.UTC().Format(time.RFC3339))
	switch {
	case now.After(leaf.NotAfter):
		d.fail(checkTLS, exitDenied, "renew it, and check this clock", more, "%s, which is over", found)
		return false
	case now.Before(leaf.NotBefore):
		d.fail(checkTLS, exitDenied, "check this clock, and that of whoever issued it", more,
			"%s, but not before %s, and it is %s by this clock", found,
			leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		return false
	case now.Add(renewAhead).After(leaf.NotAfter):
		d.warn(checkTLS, "renew it: files that are replaced count for the next connection", more, "%s, which is soon", found)
	default:
		d.ok(checkTLS, more, "%s", found)
	}
	d.tlsNoted = false
	d.ownChain(credentials, now)
	d.authorities(now)
	d.keyMode()
	return true
}

// fileAdvice says what to do about files that cannot be used.
func fileAdvice(files api.TLSFiles, err error) string {
	switch {
	case len(files.Missing()) > 0:
		return "give all three: --tls-ca, --tls-cert and --tls-key"
	case errors.Is(err, fs.ErrNotExist):
		return "check the path; in a container, whether the secret is mounted"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("let uid %d read it", os.Getuid())
	default:
		return "give files in PEM, a key without a passphrase, and the certificate that was issued for it"
	}
}

// subjectOf returns for whom a certificate is, as the provider takes it.
func subjectOf(c *x509.Certificate) string {
	if len(c.URIs) > 0 {
		return c.URIs[0].String()
	}
	if c.Subject.CommonName != "" {
		return c.Subject.CommonName
	}
	return "nobody"
}

// ownChain warns of a certificate that the provider will hardly accept. Which
// authority it goes by is not known here, but mostly it is the same.
func (d *doctor) ownChain(c *tlsfiles.Credentials, now time.Time) {
	between := x509.NewCertPool()
	for _, der := range c.Pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(cert)
		}
	}
	_, err := c.Pair.Leaf.Verify(x509.VerifyOptions{
		Roots: c.Authorities, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	switch {
	case err != nil && !d.reached():
		d.warn(checkTLS, "have it issued for clients, by the authority that the provider goes by (its --tls-client-ca)", nil,
			"%s does not stand up to %s: %v", d.r.tls.Cert, d.r.tls.CA, err)
	case subjectOf(c.Pair.Leaf) == "nobody":
		d.warn(checkTLS, "have it issued with a URI or a common name", nil, "%s says of nobody who it is; providers refuse that", d.r.tls.Cert)
	}
}

// authorities warns of authorities that are, or soon will be, out of date.
func (d *doctor) authorities(now time.Time) {
	text, err := os.ReadFile(d.r.tls.CA)
	if err != nil {
		return // it has just been read
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && now.Add(renewAhead).After(cert.NotAfter) {
			d.warn(checkTLS, "renew it, and what it has issued", details{"ca": d.r.tls.CA, "not_after": timeText(cert.NotAfter)},
				"%s: the authority %s ends %s", d.r.tls.CA, cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339))
		}
	}
}

// keyMode warns of a key that everybody may read.
func (d *doctor) keyMode() {
	info, err := os.Stat(d.r.tls.Key)
	if err == nil && info.Mode().Perm()&0o004 != 0 {
		d.warn(checkTLS, "chmod o-rwx "+shellWord(d.r.tls.Key), details{"key": d.r.tls.Key, "mode": fmt.Sprintf("%04o", info.Mode().Perm())},
			"everybody may read the key %s (mode %04o)", d.r.tls.Key, info.Mode().Perm())
	}
}

// serverCertificate makes a connection of its own to the provider, which has let
// this process in, to see how long its certificate lasts.
func (d *doctor) serverCertificate(ctx context.Context, e api.Endpoint) {
	credentials, err := tlsfiles.Load(d.r.tls)
	if err != nil {
		return // they have just been replaced
	}
	host, _, _ := net.SplitHostPort(e.Address) // it has been dialled
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: connectTime},
		Config: &tls.Config{
			MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: credentials.Authorities,
			Certificates: []tls.Certificate{credentials.Pair}, NextProtos: []string{"h2"},
		},
	}
	conn, err := dialer.DialContext(ctx, e.Network, e.Address)
	if err != nil {
		return // it was there a moment ago; what is wrong now shows in other checks
	}
	defer conn.Close()
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	more := details{"address": e.String(), "not_after": timeText(leaf.NotAfter), "subject": subjectOf(leaf)}
	found := fmt.Sprintf("the provider's is for %s, also as %s, valid until %s", host, subjectOf(leaf), leaf.NotAfter.UTC().Format(time.RFC3339))
	if time.Now().Add(renewAhead).After(leaf.NotAfter) {
		d.warn(checkTLS, "have whoever runs the provider renew it", more, "%s, which is soon", found)
		return
	}
	d.ok(checkTLS, more, "%s", found)
}
