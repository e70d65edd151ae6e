package apiserver

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/types"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
)

// kubeletConnection reaches every node's kubelet through one handler in this process, which speaks the kubelet's own
// API (/containerLogs/NAMESPACE/POD/CONTAINER).
type kubeletConnection struct{ transport http.RoundTripper }

// GetConnectionInfo implements kubeletclient.ConnectionInfoGetter.
func (k kubeletConnection) GetConnectionInfo(_ context.Context, node types.NodeName) (*kubeletclient.ConnectionInfo, error) {
	return &kubeletclient.ConnectionInfo{
		Scheme: "http", Hostname: string(node), Port: "10250",
		Transport: k.transport, InsecureSkipTLSVerifyTransport: k.transport,
	}, nil
}
