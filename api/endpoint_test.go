package api

import (
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for text, want := range map[string]Endpoint{
		"unix:///run/crier/crier.sock":  {"unix", "/run/crier/crier.sock"},
		"unix:///with space://and more": {"unix", "/with space://and more"},
		"tcp://localhost:4222":          {"tcp", "localhost:4222"},
		"tcp://[::1]:4222":              {"tcp", "[::1]:4222"},
		"tcp://:4222":                   {"tcp", ":4222"},
	} {
		got, err := ParseEndpoint(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseEndpointErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "want unix:///path or tcp://host:port",
		"/run/crier.sock":         "want unix:///path or tcp://host:port",
		"unix:/run/crier.sock":    "want unix:///path or tcp://host:port",
		"http://localhost:80":     "want unix:///path or tcp://host:port",
		"UNIX:///run/crier.sock":  "want unix:///path or tcp://host:port",
		"tcp://localhost":         "want tcp://host:port",
		"tcp://localhost:":        "want tcp://host:port",
		"tcp://::1:80":            "want tcp://host:port",
		"unix://":                 "must be absolute",
		"unix://run/crier.sock":   "must be absolute",
		"unix://@abstract":        "must be absolute",
		"unix:///run/\x00/x.sock": "holds a zero byte",
	} {
		if _, err := ParseEndpoint(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}

func TestSocketPathLength(t *testing.T) {
	longest := "/" + strings.Repeat("x", MaxSocketPath-1)
	if len(longest) != 107 {
		t.Fatalf("the longest path has %d bytes, the kernel takes 107", len(longest))
	}
	if err := UnixEndpoint(longest).Validate(); err != nil {
		t.Errorf("107 bytes: %v", err)
	}
	err := UnixEndpoint(longest + "x").Validate()
	if err == nil || !strings.Contains(err.Error(), "108 bytes") || !strings.Contains(err.Error(), "107 at most") {
		t.Errorf("108 bytes: %v, want an error with both numbers", err)
	}
	// Bytes count, not characters.
	if err := UnixEndpoint("/" + strings.Repeat("é", 54)).Validate(); err == nil {
		t.Error("109 bytes in 55 characters are valid")
	}
}
