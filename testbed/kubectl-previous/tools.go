//go:build tools

// Package previous pins the kubectl of two minor versions before, which people have on their machines.
package previous

import _ "k8s.io/kubernetes/cmd/kubectl"
