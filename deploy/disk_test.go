package deploy

import (
	"strings"
	"testing"
)

// filled has a container fill the volume; empty has it make room again.
func (s *scene) filled(name, how, path string) (empty func()) {
	s.t.Helper()
	filler := s.run(name, tooled(s.t), how, path)
	filler.log.expect("^full$")
	return func() {
		s.t.Helper()
		filler.tell("")
		if code := filler.wait(); code != 0 {
			s.t.Errorf("%s %s ended with %d: %s", how, path, code, filler.said)
		}
	}
}

// TestVolumeFills fills the volume, first with bytes and then with files, while
// clients talk: nobody notices, and others come.
func TestVolumeFills(t *testing.T) {
	t.Parallel()
	s := newScene(t, "size=64k", "nr_inodes=64")
	provider := s.serve()
	alice := s.actor("alice", options{})
	alice.connect("x", "name=alice room=r presence")
	alice.connect("say", "sendonly room=r")
	empty := s.filled("bytes", "fill", "/run/crier/filler")
	clear := s.filled("files", "clutter", "/run/crier")
	alice.ask(said("alice/say", "sent"), "send alice/say 50 size=65536")
	late := s.actor("late", options{user: "10003:20000"})
	late.connect("x", "name=late room=r presence")
	s.mark(alice, "say")
	empty()
	clear()
	s.judge(alice, "say")
	if provider.said.count(".") != 1 {
		t.Errorf("the provider has something to say:\n%s", provider.said)
	}
	s.over(provider)
}

// TestVolumeFull starts a provider on a full volume: it works by address, warns
// that it cannot announce itself, and does when there is room.
func TestVolumeFull(t *testing.T) {
	t.Parallel()
	s := newScene(t, "size=64k")
	empty := s.filled("bytes", "fill", "/run/crier/filler")
	provider := s.serve()
	until(t, func() bool { // before it says that it listens, or after
		return provider.said.count("cannot announce the provider.*no space left on device") > 0
	}, func() string { return "it does not warn: " + provider.said.String() })
	t.Logf("%s", provider.said)
	alice := s.actor("alice", options{}, "--address", "unix:///run/crier/crier.sock")
	alice.connect("x", "name=alice room=r")
	alice.connect("say", "sendonly room=r")
	code, text := s.once(options{}, "ping", "--wait", "0")
	if code != 69 {
		t.Errorf("looking for a provider that is not announced ended with %d, want 69: %s", code, text)
	}
	t.Logf("%d\n%s", code, text)
	empty()
	if code, text := s.once(options{}, "ping", "--wait", "1m"); code != 0 {
		t.Errorf("there is room: %d: %s", code, text)
	}
	s.judge(alice, "say")
	s.over(provider)
}

// TestVolumeWithoutInodes starts a provider where not even a socket can be made.
func TestVolumeWithoutInodes(t *testing.T) {
	t.Parallel()
	s := newScene(t, "size=64k", "nr_inodes=32")
	clear := s.filled("files", "clutter", "/run/crier")
	provider := s.run("barren", asProvider, "serve")
	provider.said.wait()
	if code := provider.wait(); code != 78 || !strings.Contains(provider.said.String(), "no space left on device") {
		t.Errorf("ended with %d, want 78 and why: %s", code, provider.said)
	}
	t.Logf("%s", provider.said)
	clear()
	s.over(s.serve())
}
