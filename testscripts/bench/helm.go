package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/tools/txtar"
)

// measureHelm takes the memory before and after helm installs the chart of a scenario: a Deployment, what belongs to
// one, and a hook Job.
func measureHelm(binary, helm, script, data string) error {
	chart, err := writeChart(script, data+"-chart")
	if err != nil {
		return err
	}
	s, err := start(binary, data)
	if err != nil {
		return err
	}
	defer s.stop()
	time.Sleep(idle)
	fmt.Println()
	s.printMemory("memory idle")
	install := exec.Command(helm, "install", "shop", chart, "--wait", "--timeout", "60s")
	install.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(data, "kubeconfig"))
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("%s install: %w: %s", helm, err, out)
	}
	time.Sleep(idle)
	s.printMemory("memory after a helm install")
	return nil
}

// writeChart takes the chart out of a scenario, so that there is only one.
func writeChart(script, to string) (string, error) {
	archive, err := txtar.ParseFile(script)
	if err != nil {
		return "", err
	}
	chart := filepath.Join(to, "chart")
	for _, f := range archive.Files {
		if !strings.HasPrefix(f.Name, "chart/") {
			continue
		}
		file := filepath.Join(to, f.Name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, f.Data, 0o600); err != nil {
			return "", err
		}
	}
	return chart, nil
}
