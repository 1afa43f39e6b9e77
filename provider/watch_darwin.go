package provider

// kernelTells: kqueue does not tell of sockets that are removed.
const kernelTells = false
