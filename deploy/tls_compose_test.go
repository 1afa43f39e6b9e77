package deploy

import "testing"

// TestTLSCompose plays the example: it comes up, talks, refuses a user whose
// certificate has ended and takes the renewed one, and leaves nothing behind.
func TestTLSCompose(t *testing.T) {
	t.Parallel()
	forEachCompose(t, func(t *testing.T, tool []string) {
		certs := newCerts(t)
		certify(t, certs, "provider", "10001", "provider")
		certify(t, certs, "client", "10003", "alice")
		certify(t, certs, "client", "10004", "bob")
		c := newComposition(t, tool, "tls/compose.yaml", "CERTS="+certs)
		c.up()
		room, alice, bob := c.service("room"), c.service("alice"), c.service("bob")
		bob.log.expect("^bob received: hello from alice ")
		alice.log.expect("^alice received: hello from bob ")
		room.log.expect("^hello from ")
		alice.becomes("healthy")
		for _, network := range []string{"east", "west"} {
			if docker(t, "network", "inspect", "--format", "{{.Internal}}", c.name+"_"+network) != "true" {
				t.Errorf("network %s leads out", network)
			}
		}

		certifyFor(t, 0, certs, "client", "10003", "alice")
		alice.stop()
		room.said.expect("^alice left: closed$")
		alice.start()
		if code := alice.wait(); code != 77 {
			t.Errorf("alice, out of date, ended with %d", code)
		}
		alice.said.expect("denied: certificate: the provider at tcp://provider:4000 refuses this client's: it is out of date$")
		certify(t, certs, "client", "10003", "alice")
		alice.start()
		room.said.expect("^alice joined$")
		alice.log.expect("^alice received: hello from bob ")
		if bob.said.count("reconnected|restarted") > 0 {
			t.Errorf("bob was disturbed:\n%s", bob.said)
		}

		c.compose("down", "--volumes")
		if left := c.things(); left != "" {
			t.Errorf("down has left %s", left)
		}
	})
}
