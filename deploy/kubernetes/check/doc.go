// Package check tests the example of deploy/kubernetes: that Kubernetes takes it,
// by the code with which the API server decodes, completes and validates; that
// it keeps the promises of its page; and that it works, in containers that are
// made as it says. It is a module of its own so that Crier does not depend on
// Kubernetes.
package check
