package main

import "testing"

func TestParseUserMap(t *testing.T) {
	outside := func(m userMap) int64 {
		if m.outside == nil {
			return -1
		}
		return int64(*m.outside)
	}
	for _, c := range []struct {
		name, text string
		uid        int
		full       bool
		outside    int64
	}{
		{"the machine's", "         0          0 4294967295\n", 1000, true, -1},
		{"a container's", "         0     100000      65536\n", 33, false, 100033},
		{"rootless", "0 1000 1\n1 100000 65536\n", 0, false, 1000},
		{"rootless, another user", "0 1000 1\n1 100000 65536\n", 2, false, 100001},
		{"not mapped", "0 1000 1\n", unknownID, false, -1},
		{"nothing", "", 0, false, -1},
	} {
		got := parseUserMap(c.text, c.uid)
		if got.full != c.full || outside(got) != c.outside {
			t.Errorf("%s: full %t, outside %d, want %t, %d", c.name, got.full, outside(got), c.full, c.outside)
		}
	}
}
