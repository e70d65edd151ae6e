package apiserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"time"

	apiextensionsserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	api "k8s.io/kubernetes/pkg/apis/core"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
)

// Options is what a Server needs. All fields are required unless said.
type Options struct {
	Backend Backend
	// Listener is where the API is served with TLS; New takes it over.
	Listener net.Listener
	// Certificate and Key are the serving pair, PEM.
	Certificate, Key []byte
	// ClientCA verifies client certificates, PEM.
	ClientCA []byte
	// ServiceRange is where cluster IPs come from.
	ServiceRange *net.IPNet
	// Definitions are CustomResourceDefinitions, YAML, that are served from the start.
	Definitions [][]byte
	// Namespaces are made when missing.
	Namespaces []string
	// Kubelet answers for every node (the kubelet's own API).
	Kubelet http.Handler
	// Reviews look at Ingresses before they are stored. Optional.
	Reviews []IngressReview
	// Handlers are further handlers by path prefix, behind the API's authentication and authorization. Optional.
	Handlers map[string]http.Handler
	// ShutdownTimeout bounds how long requests in flight may take at the end.
	ShutdownTimeout time.Duration
}

// Server is the Kubernetes API.
type Server struct {
	options   Options
	api       *genericapiserver.GenericAPIServer
	custom    *apiextensionsserver.CustomResourceDefinitions
	inProcess *loopback
	loopback  *restclient.Config
	informers informers.SharedInformerFactory
}

// New wires the API and makes what must be there before anybody asks: definitions and namespaces. It does not serve yet.
func New(ctx context.Context, o Options) (*Server, error) {
	supportWatchProgress(ctx, o.Backend)
	for _, d := range o.Definitions {
		if err := ensureDefinition(ctx, o.Backend, d); err != nil {
			return nil, err
		}
	}
	s := &Server{options: o, inProcess: &loopback{}}
	s.loopback = &restclient.Config{Host: "http://in-process", Transport: s.inProcess, BearerToken: rand.Text(), QPS: -1}
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	if s.custom, err = newCustomResources(config, o.Backend); err != nil {
		return nil, err
	}
	if s.api, err = config.Complete(nil).New("appliance", s.custom.GenericAPIServer); err != nil {
		return nil, fmt.Errorf("make API server: %w", err)
	}
	core, err := installResources(ctx, s.api, &resourceDeps{
		options: newOptions(o.Backend, legacyscheme.Scheme, legacyscheme.Codecs), authorizer: config.Authorization.Authorizer, rules: config.RuleResolver,
		authentication: config.Authentication, kubelet: newKubeletTransport(o.Kubelet), serviceRange: o.ServiceRange,
	})
	if err != nil {
		return nil, err
	}
	for path, h := range o.Handlers {
		s.api.Handler.NonGoRestfulMux.HandlePrefix(path, h)
	}
	return s, ensureNamespaces(ctx, core, o.Namespaces)
}

// config is the generic server's configuration: TLS on the given listener, client certificates, no flow control and no
// audit (one user on one laptop).
func (s *Server) config() (*genericapiserver.Config, error) {
	c := genericapiserver.NewConfig(legacyscheme.Codecs)
	c.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	certificate, err := dynamiccertificates.NewStaticCertKeyContent("serving", s.options.Certificate, s.options.Key)
	if err != nil {
		return nil, fmt.Errorf("load serving certificate: %w", err)
	}
	clientCA, err := dynamiccertificates.NewStaticCAContent("client-ca", s.options.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("load client CA: %w", err)
	}
	c.SecureServing = &genericapiserver.SecureServingInfo{Listener: s.options.Listener, Cert: certificate, ClientCA: clientCA}
	c.ExternalAddress = s.options.Listener.Addr().String()
	c.LoopbackClientConfig = s.loopback
	c.Authentication.Authenticator = newAuthenticator(clientCA)
	if c.Authorization.Authorizer, err = newAuthorizer(); err != nil {
		return nil, err
	}
	c.RuleResolver = rules{}
	genericapiserver.AuthorizeClientBearerToken(s.loopback, &c.Authentication, &c.Authorization)
	c.LongRunningFunc = filters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	namer := openapinamer.NewDefinitionNamer(legacyscheme.Scheme, apiextensionsserver.Scheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generatedopenapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIConfig.Info.Title = "Kubernetes"
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIV3Config.Info.Title = "Kubernetes"
	c.AggregatedDiscoveryGroupManager = discoveryendpoint.NewResourceManager("apis")
	c.RESTOptionsGetter = newOptions(s.options.Backend, legacyscheme.Scheme, legacyscheme.Codecs)
	client, err := kubernetes.NewForConfig(s.loopback)
	if err != nil {
		return nil, fmt.Errorf("make loopback client: %w", err)
	}
	s.informers = informers.NewSharedInformerFactory(client, 0)
	if c.AdmissionControl, err = newAdmission(client, s.informers, s.options.Reviews); err != nil {
		return nil, err
	}
	return c, nil
}

func ensureNamespaces(ctx context.Context, core *coreResources, names []string) error {
	for _, n := range names {
		namespace := &api.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n}}
		_, err := core.namespaces.Create(request.WithNamespace(ctx, metav1.NamespaceNone), namespace, nil, &metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create namespace %s: %w", n, err)
		}
	}
	return nil
}

// Loopback is the configuration of clients in this process: no socket, all rights, no rate limit.
func (s *Server) Loopback() *restclient.Config { return restclient.CopyConfig(s.loopback) }

// Run serves until ctx ends; ready is called once when the API and its definitions answer.
func (s *Server) Run(ctx context.Context, ready func()) error {
	// Once begun, the start is brought to its end: upstream's hooks exit the process when they are stopped half way.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer s.informers.Shutdown()
	defer s.custom.Informers.Shutdown()
	defer stop()
	prepared := s.api.PrepareRun()
	// The custom resources' documents join those of the built-in kinds: their controllers start with these set.
	custom := s.custom.GenericAPIServer
	custom.OpenAPIVersionedService, custom.OpenAPIV3VersionedService = s.api.OpenAPIVersionedService, s.api.OpenAPIV3VersionedService
	custom.StaticOpenAPISpec = s.api.StaticOpenAPISpec
	s.inProcess.serve(s.api.Handler)
	// A definition's informer that syncs after the server listens costs a 100 ms poll of upstream's readiness hook.
	s.custom.Informers.Start(serving.Done())
	s.informers.Start(serving.Done())
	s.custom.Informers.WaitForCacheSync(serving.Done())
	s.informers.WaitForCacheSync(serving.Done())
	s.api.ShutdownTimeout = s.options.ShutdownTimeout
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = prepared.RunWithContext(serving)
	}()
	if s.awaitReady(serving, ended) && ctx.Err() == nil {
		ready()
	}
	select {
	case <-ctx.Done():
	case <-ended:
	}
	stop()
	<-ended
	return err
}

// awaitReady asks /readyz until it says yes; it gives false when the API ends first. Upstream offers no notification;
// this lasts some milliseconds, once.
func (s *Server) awaitReady(ctx context.Context, ended <-chan struct{}) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://in-process/readyz", nil)
	if err != nil {
		return false // never: the address is a constant
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		response, err := s.inProcess.RoundTrip(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ended:
			return false
		case <-tick.C:
		}
	}
}
