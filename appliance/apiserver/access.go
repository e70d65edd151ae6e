package apiserver

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	requestunion "k8s.io/apiserver/pkg/authentication/request/union"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/path"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// publicPaths is what upstream shows to strangers (its role system:public-info-viewer).
var publicPaths = []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}

// newAuthenticator knows client certificates of the CA (CN is the user, O the groups); everybody else is anonymous.
func newAuthenticator(ca dynamiccertificates.CAContentProvider) authenticator.Request {
	certificates := x509request.NewDynamic(ca.VerifyOptions, x509request.CommonNameUserConversion)
	return group.NewAuthenticatedGroupAdder(requestunion.New(certificates, anonymous.NewAuthenticator(nil)))
}

// newAuthorizer allows everything to system:masters and publicPaths to anybody.
func newAuthorizer() (authorizer.Authorizer, error) {
	public, err := path.NewAuthorizer(publicPaths)
	if err != nil {
		return nil, fmt.Errorf("make authorizer of public paths: %w", err)
	}
	return union.New(authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup), public), nil
}

// rules answers SelfSubjectRulesReview for newAuthorizer (authorizer.RuleResolver).
type rules struct{}

// RulesFor implements authorizer.RuleResolver.
func (rules) RulesFor(_ context.Context, u user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	for _, g := range u.GetGroups() {
		if g == user.SystemPrivilegedGroup {
			return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}},
				[]authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}}, false, nil
		}
	}
	return nil, []authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: []string{"get"}, NonResourceURLs: publicPaths}}, false, nil
}
