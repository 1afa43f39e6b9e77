package tlsfiles

import (
	"errors"
	"os"
	"strings"
	"testing"

	"crier.local/api"
	"crier.local/api/tlstest"
)

func issue(t *testing.T) (*tlstest.Authority, api.TLSFiles) {
	t.Helper()
	a, err := tlstest.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f, err := a.Issue("name", tlstest.Pair{})
	if err != nil {
		t.Fatal(err)
	}
	return a, f
}

func TestLoad(t *testing.T) {
	_, good := issue(t)
	_, other := issue(t)
	if c, err := Load(good); err != nil || c.Pair.Leaf.Subject.CommonName != "name" || c.Authorities == nil {
		t.Errorf("loaded %+v, %v", c, err)
	}
	for want, f := range map[string]api.TLSFiles{
		"not given: ca, cert, key": {},
		"not given: key":           {CA: good.CA, Cert: good.Cert},
		"no such file":             {CA: "/nowhere", Cert: good.Cert, Key: good.Key},
		"holds no certificate":     {CA: good.Key, Cert: good.Cert, Key: good.Key},
		"does not match":           {CA: good.CA, Cert: good.Cert, Key: other.Key},
		"is a directory":           {CA: good.CA, Cert: good.Cert, Key: t.TempDir()},
	} {
		if _, err := Load(f); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", f, err, want)
		}
	}
}

// TestStore is of files that change, one after the other, as whoever renews them
// may write them.
func TestStore(t *testing.T) {
	a, f := issue(t)
	var reports []error
	s, err := Open(f, func(err error) { reports = append(reports, err) })
	if err != nil {
		t.Fatal(err)
	}
	first := s.Current()
	if s.Current() != first || len(reports) > 0 {
		t.Fatal("read again, though nothing has changed")
	}
	old, err := os.ReadFile(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue("name", tlstest.Pair{}); err != nil {
		t.Fatal(err)
	}
	renewed, err := os.ReadFile(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(f.Key, old) // the certificate is renewed, its key is not yet
	for range 2 {     // and it is said once
		if s.Current() != first {
			t.Error("a certificate without its key is taken")
		}
	}
	if len(reports) != 1 || !errors.Is(reports[0], ErrUnusable) {
		t.Errorf("reported: %v", reports)
	}
	if err := os.Remove(f.Key); err != nil {
		t.Fatal(err)
	}
	if s.Current() != first || len(reports) != 2 {
		t.Errorf("the key is gone, reported: %v", reports)
	}
	write(f.Key, renewed)
	if s.Current() == first || len(reports) != 3 || reports[2] != nil {
		t.Errorf("not read again, reported: %v", reports)
	}
}
