package main

import (
	"fmt"
	"os"
	"path/filepath"

	"crier.local/api"
)

const checkVolume = "volume"

// leastRoom is how many bytes a file system needs to have free for announcements
// and sockets; files take whole pages.
const leastRoom = 64 << 10

// fewFiles is for how many files more there may be room before it is worth a word.
const fewFiles = 1000

// volume is a file system.
type volume struct {
	device   uint64
	kind     string
	readOnly bool
	remote   bool // sockets do not reach from one machine to another over it
	bounded  bool // it knows how large it is
	free     uint64
	files    uint64 // that can still be made
	counted  bool   // it knows how many
}

// volumes tells of the file systems that the run directories are on, each once.
func (d *doctor) volumes() {
	seen := map[uint64]bool{}
	for _, dir := range d.concerned() {
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		v, err := volumeOf(dir, info)
		if err != nil || seen[v.device] {
			continue
		}
		seen[v.device] = true
		d.volume(dir, v)
	}
	if len(seen) == 0 {
		d.skip(checkVolume, "there is no run directory to look at the file system of")
	}
}

// concerned returns the run directories that are there, with that of the socket.
func (d *doctor) concerned() []string {
	var dirs []string
	if d.r.address.Network == "unix" {
		dirs = append(dirs, filepath.Dir(d.r.address.Address))
	}
	if d.asked == "" {
		for _, place := range d.places {
			dirs = append(dirs, place.Dir)
		}
	}
	if listens, err := listenAddresses(); err == nil {
		dirs = append(dirs, dirsOf(listens)...)
	}
	return dirs
}

func dirsOf(list []api.Endpoint) []string {
	var dirs []string
	for _, e := range list {
		if e.Network == "unix" {
			dirs = append(dirs, filepath.Dir(e.Address))
		}
	}
	return dirs
}

// volume tells of one file system, with dir on it.
func (d *doctor) volume(dir string, v volume) {
	more := details{"path": dir, "kind": v.kind, "read_only": v.readOnly}
	room := v.room(more)
	switch {
	case v.bounded && v.free < leastRoom:
		d.grave(checkVolume, exitConfig, "make room in it, or make the volume larger",
			more, "%s is full: %s (%s); a provider can neither listen nor announce itself there", dir, room, v.kind)
	case v.counted && v.files < 4:
		d.grave(checkVolume, exitConfig, "remove files from it, or have the volume take more (nr_inodes)",
			more, "%s takes no more files: %s (%s); a provider can neither listen nor announce itself there", dir, room, v.kind)
	case v.remote:
		d.warn(checkVolume, "use a volume of this machine's, such as a tmpfs or a named volume; or go over TCP",
			more, "%s is on %s, over which sockets do not connect to another machine", dir, v.kind)
	case v.readOnly:
		d.ok(checkVolume, more, "%s is on %s, read-only, which suffices for clients", dir, v.kind)
	default:
		d.ok(checkVolume, more, "%s is on %s, %s", dir, v.kind, room)
	}
}

// room says how much can still be put there, and adds it to more.
func (v volume) room(more details) string {
	text := "of no fixed size"
	if v.bounded {
		more["free_bytes"] = v.free
		text = byteText(v.free) + " free"
	}
	if v.counted {
		more["free_files"] = v.files
		if v.files < fewFiles {
			text += fmt.Sprintf(", room for %s", count(v.files, "file"))
		}
	}
	return text
}

// byteText returns a size as people say it.
func byteText(n uint64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return count(n, "byte")
	}
	size := float64(n)
	unit := ""
	for _, unit = range units {
		if size /= 1024; size < 1024 {
			break
		}
	}
	if size < 10 {
		return fmt.Sprintf("%.1f %s", size, unit)
	}
	return fmt.Sprintf("%.0f %s", size, unit)
}
