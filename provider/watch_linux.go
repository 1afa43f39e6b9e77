package provider

// kernelTells: inotify tells of all that happens to the files in a directory.
const kernelTells = true
