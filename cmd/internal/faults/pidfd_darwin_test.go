package faults_test

import "testing"

// hasPeerPidfd is false: there is nothing of the kind here.
func hasPeerPidfd(*testing.T) bool { return false }
