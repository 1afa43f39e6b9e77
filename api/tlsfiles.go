package api

// TLSFiles are the PEM files with which one side of a TCP connection shows who
// it is and judges who the other is. Crier's TLS is mutual, so a provider and a
// client need all three. They are looked at anew for every connection: files
// that are replaced count from the next one on, and no connection ends for it.
type TLSFiles struct {
	// CA has the certificates of the authorities that the other side's
	// certificate must come from. The system's authorities do not count.
	CA string
	// Cert has this side's certificate, and after it those between it and the
	// authority, if any.
	Cert string
	// Key has the private key of the certificate, without a passphrase.
	Key string
}

// Missing returns which of the three are not given: ca, cert, key.
func (f TLSFiles) Missing() []string {
	var missing []string
	for _, file := range []struct{ name, path string }{{"ca", f.CA}, {"cert", f.Cert}, {"key", f.Key}} {
		if file.path == "" {
			missing = append(missing, file.name)
		}
	}
	return missing
}
