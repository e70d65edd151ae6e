package images

import (
	"fmt"
	"strings"
)

// Repository gives the parts of an image's repository name, without registry host, tag and digest.
func Repository(ref string) ([]string, error) {
	name, digest, pinned := strings.Cut(ref, "@")
	if pinned && !strings.Contains(digest, ":") {
		return nil, invalid(ref)
	}
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		if !isTag(name[colon+1:]) {
			return nil, invalid(ref)
		}
		name = name[:colon]
	}
	parts := strings.Split(name, "/")
	if len(parts) > 1 && isHost(parts[0]) {
		parts = parts[1:]
	}
	for _, p := range parts {
		if !isPart(p) {
			return nil, invalid(ref)
		}
	}
	return parts, nil
}

func invalid(ref string) error {
	return fmt.Errorf("couldn't parse image name %q: invalid reference format", ref)
}

// isHost follows the rule of all image tools: a first part with a dot or a port, or localhost, is a registry.
func isHost(part string) bool { return part == "localhost" || strings.ContainsAny(part, ".:") }

func isPart(part string) bool {
	for i := range len(part) {
		c := part[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case (c == '.' || c == '_' || c == '-') && i > 0 && i < len(part)-1:
		default:
			return false
		}
	}
	return part != ""
}

func isTag(tag string) bool {
	for i := range len(tag) {
		c := tag[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case (c == '.' || c == '-') && i > 0:
		default:
			return false
		}
	}
	return tag != "" && len(tag) <= 128
}
