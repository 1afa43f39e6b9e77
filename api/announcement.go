package api

import (
	"fmt"
	"os"
	"path/filepath"
)

// Announcement is what a provider tells about itself in a file of its run
// directory, as JSON, so that clients find it without a daemon between them.
// It says what was true when the provider started; whether the provider lives
// is decided by connecting to it.
type Announcement struct {
	Name    string   `json:"name"`
	Version Version  `json:"version"`
	Epoch   string   `json:"epoch"`
	Tags    []string `json:"tags,omitempty"`
	// Addresses are where it listens. The path of a unix socket is relative to
	// the file's directory where it lies in there, so that the directory may be
	// mounted elsewhere.
	Addresses []string `json:"addresses"`
	// Services are what it offers.
	Services []AnnouncedService `json:"services"`
}

// AnnouncedService is a service in an [Announcement].
type AnnouncedService struct {
	UUID     string   `json:"uuid"`
	Major    uint32   `json:"major"`
	Minor    uint32   `json:"minor"`
	Priority Priority `json:"priority"`
	// Tags are the service's own; the provider's count too.
	Tags []string `json:"tags,omitempty"`
}

// Selector returns the selector of s.
func (s AnnouncedService) Selector() Selector {
	return Selector{UUID: s.UUID, Major: s.Major, Minor: s.Minor}
}

// AnnouncementSuffix ends the names of announcement files: NAME.crier.json.
const AnnouncementSuffix = ".crier.json"

// RunDirs returns the directories in which providers announce themselves, the
// one a new provider would choose first: $XDG_RUNTIME_DIR/crier, /run/crier and
// $TMPDIR/crier-UID. The last is trusted only if it is this user's own, mode 0700.
func RunDirs() []string {
	var dirs []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, "crier"))
	}
	return append(dirs, "/run/crier", filepath.Join(os.TempDir(), fmt.Sprintf("crier-%d", os.Getuid())))
}
