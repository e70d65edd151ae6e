package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/alb-appliance/appliance/appliance/kubelet/shell"
)

// files makes the container's file system as it is now: what the image has, what the kubelet writes into every
// container, and the volumes that it mounts. ConfigMaps and Secrets are read now, so a change is seen by the next command.
func (t *target) files(ctx context.Context) (*shell.Files, error) {
	f := shell.NewFiles(t.found.CreationTimestamp.Time)
	if !t.run.image.Bare {
		f.AddPrograms()
	}
	for name, text := range t.run.image.Files {
		f.Add(name, []byte(text), 0o644)
	}
	f.Add("/etc/os-release", []byte(describe(t.run.image)), 0o644)
	f.Add("/etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644)
	f.Add("/etc/hostname", []byte(t.run.env["HOSTNAME"]+"\n"), 0o644)
	f.Add("/etc/hosts", []byte(hostsFile(t.found, t.reach.ip.String())), 0o644)
	f.Add("/etc/resolv.conf", []byte(t.reach.resolver.Config()), 0o644)
	f.Mount("/tmp", &t.run.scratch)
	for _, m := range t.spec.VolumeMounts {
		i := slices.IndexFunc(t.found.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			continue
		}
		if err := t.mount(ctx, f, m, t.found.Spec.Volumes[i]); err != nil {
			return nil, fmt.Errorf("read volume %q: %w", m.Name, err)
		}
	}
	return f, nil
}

// mount puts a volume in place: an emptyDir to write to, or the files of one that is made of objects.
func (t *target) mount(ctx context.Context, f *shell.Files, m corev1.VolumeMount, v corev1.Volume) error {
	if v.EmptyDir != nil {
		if m.SubPath == "" && m.SubPathExpr == "" {
			f.Mount(m.MountPath, t.pod.emptyDirs[v.Name])
		}
		return nil
	}
	files, err := t.content(ctx, v)
	if err != nil {
		return err
	}
	if m.SubPath != "" {
		if file, ok := files[path.Clean(m.SubPath)]; ok {
			f.Add(m.MountPath, file.data, file.mode)
			return nil
		}
	}
	f.AddDir(m.MountPath)
	for name, file := range files {
		if inner, ok := strings.CutPrefix(name, m.SubPath); ok {
			f.Add(path.Join(m.MountPath, inner), file.data, file.mode)
		}
	}
	return nil
}

// volumeFile is one file of a volume.
type volumeFile struct {
	data []byte
	mode fs.FileMode
}

// content gives the files of a volume that is made of objects; of others there are none.
func (t *target) content(ctx context.Context, v corev1.Volume) (map[string]volumeFile, error) {
	files := map[string]volumeFile{}
	switch {
	case v.ConfigMap != nil:
		return files, t.object(ctx, files, object{kindConfigMap, v.ConfigMap.Name}, v.ConfigMap.Items, v.ConfigMap.DefaultMode, v.ConfigMap.Optional)
	case v.Secret != nil:
		return files, t.object(ctx, files, object{kindSecret, v.Secret.SecretName}, v.Secret.Items, v.Secret.DefaultMode, v.Secret.Optional)
	case v.DownwardAPI != nil:
		return files, t.downward(files, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			var err error
			switch {
			case s.ConfigMap != nil:
				err = t.object(ctx, files, object{kindConfigMap, s.ConfigMap.Name}, s.ConfigMap.Items, v.Projected.DefaultMode, s.ConfigMap.Optional)
			case s.Secret != nil:
				err = t.object(ctx, files, object{kindSecret, s.Secret.Name}, s.Secret.Items, v.Projected.DefaultMode, s.Secret.Optional)
			case s.DownwardAPI != nil:
				err = t.downward(files, s.DownwardAPI.Items, v.Projected.DefaultMode)
			case s.ServiceAccountToken != nil:
				var token string
				token, err = t.pod.token(ctx, t.found, s.ServiceAccountToken)
				files[path.Clean(s.ServiceAccountToken.Path)] = volumeFile{[]byte(token), modeOf(v.Projected.DefaultMode, nil)}
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// object adds the keys of a ConfigMap or Secret: all, or those that items name.
func (t *target) object(ctx context.Context, files map[string]volumeFile, o object, items []corev1.KeyToPath, mode *int32, optional *bool) error {
	data, _, err := t.pod.read(ctx, o)
	var missing *missingError
	if errors.As(err, &missing) { // what is mounted already stays mounted when the object goes; here it is empty then
		return nil
	}
	if err != nil {
		return err
	}
	if len(items) == 0 {
		for key, text := range data {
			files[key] = volumeFile{[]byte(text), modeOf(mode, nil)}
		}
	}
	for _, item := range items {
		if text, ok := data[item.Key]; ok {
			files[path.Clean(item.Path)] = volumeFile{[]byte(text), modeOf(mode, item.Mode)}
		} else if !isTrue(optional) {
			return fmt.Errorf("references non-existent config key: %s", item.Key)
		}
	}
	return nil
}

// downward adds fields of the pod.
func (t *target) downward(files map[string]volumeFile, items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	s := surroundings{pod: t.found, podIP: t.reach.ip.String(), hostIP: t.pod.node.Address.String(), capacity: capacity()}
	for _, item := range items {
		text, err := "", error(nil)
		switch {
		case item.FieldRef != nil:
			text, err = s.volumeField(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			text, err = s.resource(item.ResourceFieldRef, t.spec)
		}
		if err != nil {
			return err
		}
		files[path.Clean(item.Path)] = volumeFile{[]byte(text), modeOf(mode, item.Mode)}
	}
	return nil
}

// volumeField is the downward API for files, which can hold all labels and annotations, one a line.
func (s surroundings) volumeField(field string) (string, error) {
	switch field {
	case "metadata.labels":
		return fieldLines(s.pod.Labels), nil
	case "metadata.annotations":
		return fieldLines(s.pod.Annotations), nil
	default:
		return s.field(field)
	}
}

func fieldLines(m map[string]string) string {
	var all []string
	for k, v := range m {
		all = append(all, fmt.Sprintf("%s=%q", k, v))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func modeOf(volume, file *int32) fs.FileMode {
	switch {
	case file != nil:
		return fs.FileMode(*file)
	case volume != nil:
		return fs.FileMode(*volume)
	default:
		return 0o644
	}
}

// hostsFile is what the kubelet writes.
func hostsFile(p *corev1.Pod, ip string) string {
	var b strings.Builder
	b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
	name := hostname(p)
	if p.Spec.Subdomain != "" && !p.Spec.HostNetwork {
		name = fmt.Sprintf("%s.%s.%s.svc.%s\t%s", name, p.Spec.Subdomain, p.Namespace, clusterDomain, name)
	}
	fmt.Fprintf(&b, "%s\t%s\n", ip, name)
	if len(p.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range p.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return b.String()
}
