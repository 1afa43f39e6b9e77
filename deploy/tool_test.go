package deploy

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// toolImage is the image of this tree with testdata/tool in it, as /tool and as
// sleep; built at most once.
var toolImage = image + "-tool"

const toolFile = `ARG BASE
FROM $BASE
COPY tool /tool
COPY tool /bin/sleep
ENTRYPOINT ["/tool"]
`

// tooled is for a container that has the tool.
func tooled(t testing.TB) options {
	t.Helper()
	if err := toolBuilt(); err != nil {
		t.Fatal(err)
	}
	return options{image: toolImage}
}

var toolBuilt = sync.OnceValue(func() error {
	context, err := os.MkdirTemp("", "crier-tool")
	if err != nil {
		return err
	}
	defer os.RemoveAll(context)
	if err := compile(filepath.Join(context, "tool"), runtime.GOARCH, "./testdata/tool"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(context, "Dockerfile"), []byte(toolFile), 0o644); err != nil {
		return err
	}
	_, err = try("build", "--quiet", "--build-arg", "BASE="+image, "--tag", toolImage, context)
	return err
})
