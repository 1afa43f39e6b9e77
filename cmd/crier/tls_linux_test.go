package main

import (
	"bytes"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"crier.local/api/tlstest"
)

// certificates DIR NAME... makes an authority, and a certificate for each name:
// DIR/ca.pem, DIR/NAME.pem and DIR/NAME.key. One called old is out of date, and
// bob's is for a URI. In a directory that has an authority, it is another one.
func certificates(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: certificates dir name...")
	}
	authority, err := tlstest.New(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, name := range args[1:] {
		var pair tlstest.Pair
		switch name {
		case "old":
			pair.NotAfter = time.Now().Add(-time.Minute)
		case "bob":
			pair.URI = "spiffe://example.org/bob"
		case "elsewhere":
			pair.Hosts = []string{"elsewhere.example.org"}
		}
		_, err := authority.Issue(name, pair)
		ts.Check(err)
	}
}

// where VARIABLE NAME sets a variable to the address that a provider says it
// listens on, the last of them.
func where(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: where variable name")
	}
	awaitOutput(ts, false, []string{args[1], "stderr", `^listening on .*\n`})
	text, _ := find(ts, args[1]).stderr.snapshot()
	for line := range bytes.Lines(text) {
		if address, ok := bytes.CutPrefix(line, []byte("listening on ")); ok {
			ts.Setenv(args[0], string(bytes.TrimSpace(address)))
		}
	}
}
