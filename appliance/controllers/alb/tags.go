package alb

import (
	"fmt"
	"strings"

	"github.com/alb-appliance/appliance/cloudsim"
)

// Tags by which the controller finds what it made (ALB-FACTS 3.7, 3.11).
const (
	tagCluster   = "ack.aliyun.com"
	tagAlbConfig = "ingress.k8s.alibaba/albconfig"
	tagResource  = "ingress.k8s.alibaba/resource"
	tagNamespace = "ingress.k8s.alibaba/service_ns"
	tagIngress   = "ingress.k8s.alibaba/ingress_name"
	tagService   = "ingress.k8s.alibaba/service_name"
	tagPort      = "ingress.k8s.alibaba/service_port"
	// tagReused is ours: it marks an instance that was there before its AlbConfig. What decides that such an instance is
	// never deleted must not depend on a spec that can be edited or cannot be read.
	tagReused = "ingress.k8s.alibaba/reused"

	tagResourceLoadBalancer = "ApplicationLoadBalancer"
)

const (
	// groupNamespace is the namespace that the cluster-scoped AlbConfigs are counted to.
	groupNamespace = "kube-system"
	// placeholderService names the empty group behind a listener's default action.
	placeholderService = "fake-svc"
)

// groupID names a group in tags and default names.
func groupID(albConfig string) string { return groupNamespace + "/" + albConfig }

// owned are the tags on everything made for one AlbConfig.
func owned(clusterID, albConfig string) []cloudsim.Tag {
	return []cloudsim.Tag{{Key: tagCluster, Value: clusterID}, {Key: tagAlbConfig, Value: tagValue(groupID(albConfig))}}
}

func (b *build) tags(more ...cloudsim.Tag) []cloudsim.Tag {
	return append(owned(b.cluster.ID, b.group.AlbConfig.Name), more...)
}

func (k GroupKey) tags() []cloudsim.Tag {
	return []cloudsim.Tag{
		{Key: tagNamespace, Value: tagValue(k.Namespace)}, {Key: tagIngress, Value: tagValue(k.Ingress)},
		{Key: tagService, Value: tagValue(k.Service)}, {Key: tagPort, Value: fmt.Sprint(k.Port)},
	}
}

// tagValue avoids what the cloud reserves: values that begin with aliyun or acs: get an underscore before them.
func tagValue(v string) string {
	if strings.HasPrefix(v, "aliyun") || strings.HasPrefix(v, "acs:") {
		return "_" + v
	}
	return v
}

// keyOf reads a group's key back from its tags.
func keyOf(tags []cloudsim.Tag) (GroupKey, bool) {
	var k GroupKey
	found := 0
	for _, t := range tags {
		value := strings.TrimPrefix(t.Value, "_")
		switch t.Key {
		case tagNamespace:
			k.Namespace = value
		case tagIngress:
			k.Ingress = value
		case tagService:
			k.Service = value
		case tagPort:
			if _, err := fmt.Sscan(t.Value, &k.Port); err != nil {
				return k, false
			}
		default:
			continue
		}
		found++
	}
	return k, found == 4
}
