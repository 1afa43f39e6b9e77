package provider

import (
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"crier.local/api/tlstest"
	"crier.local/client"
)

// TestReload replaces the provider's files while clients are attached.
func TestReload(t *testing.T) {
	tn := newTown(t, Options{})
	files := issue(t, tn.authority, "alice", tlstest.Pair{})
	first := tn.client(files)
	serial := func() *big.Int {
		state, err := tn.greet(config(t, files))
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber
	}
	before := serial()
	if before.Cmp(serial()) != 0 {
		t.Fatal("two certificates before there are")
	}

	issue(t, tn.authority, "provider", tlstest.Pair{})
	renewed := serial()
	if before.Cmp(renewed) == 0 {
		t.Error("the renewed certificate is not shown")
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert := tn.options.TLS.Cert
	good, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	write(cert, "garbage")
	for range 3 {
		if renewed.Cmp(serial()) != 0 {
			t.Error("a certificate that does not parse is not passed over")
		}
	}
	if n := tn.log.count("cannot be used; those before stay"); n != 1 {
		t.Errorf("that a certificate does not parse was said %d times", n)
	}
	write(cert, string(good))
	serial()
	if n := tn.log.count("read the TLS files again"); n < 2 {
		t.Errorf("read again %d times", n)
	}
	if err := first.Ping(within(t)); err != nil {
		t.Errorf("the one from before: %v", err)
	}
}

// TestReloadAuthority replaces whom the provider believes in.
func TestReloadAuthority(t *testing.T) {
	tn := newTown(t, Options{})
	old := issue(t, tn.authority, "alice", tlstest.Pair{})
	first := tn.client(old)
	other := newAuthority(t)
	mine := issue(t, other, "bob", tlstest.Pair{})
	mine.CA = filepath.Join(t.TempDir(), "provider-ca.pem")
	copyFile(t, tn.authority.CA(), mine.CA)
	copyFile(t, other.CA(), tn.authority.CA())
	old.CA = mine.CA
	tn.client(mine)
	if _, err := tn.dial(old); !errors.Is(err, client.ErrCertificate) {
		t.Errorf("a client of the former authority: %v", err)
	}
	if err := first.Ping(within(t)); err != nil {
		t.Errorf("the one from before: %v", err)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
