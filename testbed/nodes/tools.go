//go:build tools

// Package nodes pins what the nodes of whole clusters run. The versions are those of ../kubernetes, which changes with it.
package nodes

import (
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
