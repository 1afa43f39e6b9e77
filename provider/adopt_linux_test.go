package provider

import (
	"strings"
	"testing"

	"crier.local/api"
)

// TestAdoptedRules: who comes in by another's socket is who the kernel says, and is
// held to the same rules as by an own one.
func TestAdoptedRules(t *testing.T) {
	needRoot(t)
	o := openFor(t, publicDir(t))
	p := New(Options{AllowUIDs: []uint32{1000}})
	defer p.Close()
	if err := p.Provide(witnessSelector, newWitness(), ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Adopt(o.pass()); err != nil {
		t.Fatal(err)
	}
	binary, address := publicCopy(t), api.EnvAddress+"="+api.UnixEndpoint(o.path).String()
	for uid, want := range map[uint32]string{1000: "attached", 1001: "does not admit uid 1001"} {
		if said := playIn(t, binary, uid, []uint32{uid}, nil, "attach", address).line(); !strings.Contains(said, want) {
			t.Errorf("uid %d: %q, want %q", uid, said, want)
		}
	}
}
