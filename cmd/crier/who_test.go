package main

import (
	"strings"
	"testing"

	"crier.local/api"
)

func TestWriteSeats(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	host := api.Seat{Room: "r", Name: "host", Identity: api.Identity{UID: 1000, PID: 7}}
	boxed := api.Seat{Room: "r", Name: "boxed", Identity: api.Identity{UID: 1000, PID: 8, Container: id}}
	hostile := api.Seat{Room: "r", Name: "hostile", Identity: api.Identity{UID: 1000, PID: 9, Container: "\x1b[2J"}}
	remote := api.Seat{Room: "r", Name: "remote", Identity: api.Identity{UID: unknownID, Subject: "alice"}}
	for _, test := range []struct {
		name  string
		seats []api.Seat
		want  []string // the ends of the lines, from the title of the state on
	}{
		{"neither", []api.Seat{host}, []string{"STATE", "-"}},
		{"containers", []api.Seat{host, boxed}, []string{"STATE\tCONTAINER", "-\t-", "-\t0123456789ab"}},
		{"subjects", []api.Seat{host, remote}, []string{"STATE\tSUBJECT", "-\t-", "-\talice"}},
		{"both", []api.Seat{boxed, remote}, []string{"STATE\tCONTAINER\tSUBJECT", "-\t0123456789ab\t-", "-\t-\talice"}},
		{"hostile", []api.Seat{hostile}, []string{"STATE\tCONTAINER", "-\t" + `\x1b[2J`}},
	} {
		var b strings.Builder
		writeSeats(&b, test.seats)
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(test.want) {
			t.Fatalf("%s: %d lines, want %d", test.name, len(lines), len(test.want))
		}
		for i, line := range lines {
			if !strings.HasSuffix(line, "\t"+test.want[i]) {
				t.Errorf("%s: line %d is %q, want the end of %q", test.name, i, line, test.want)
			}
		}
	}
}
