//go:build race

package faults_test

// raceEnabled tells that everything is slower, the processes included.
const raceEnabled = true
