package provider

import "testing"

func adoptOrphans(t *testing.T) { t.Skip("nobody can adopt orphans here") }

func expectExit(*testing.T, int, int) {}
