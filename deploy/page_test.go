package deploy

import (
	"regexp"
	"strings"
	"testing"
)

// TestPages holds the Go that pages show to the programs that they are about.
func TestPages(t *testing.T) {
	for page, program := range map[string]string{
		"siblings/README.md": "siblings/main.go",
		"sidecar/README.md":  "sidecar/app/desk.go",
	} {
		shown := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(read(t, page)), -1)
		if len(shown) == 0 {
			t.Errorf("%s shows none", page)
		}
		for _, block := range shown {
			if !strings.Contains(string(read(t, program)), block[1]) {
				t.Errorf("%s is without these lines of %s:\n%s", program, page, block[1])
			}
		}
	}
}
