package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// kubeconfigPath is where `serve` writes the kubeconfig.
func (g *grammar) kubeconfigPath() (string, error) {
	path := filepath.Join(g.DataDir, "kubeconfig")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no appliance has run on %s; start one with `appliance serve`, or name its --data-dir", g.DataDir)
	} else if err != nil {
		return "", fmt.Errorf("find the kubeconfig: %w", err)
	}
	return path, nil
}

// ask calls the running appliance; a nil body is a GET. The answer goes into view.
func (g *grammar) ask(path string, body, view any) error {
	raw, err := g.askRaw(path, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, view); err != nil {
		return fmt.Errorf("read the appliance's answer: %w; is it of another version?", err)
	}
	return nil
}

func (g *grammar) askRaw(path string, body any) ([]byte, error) {
	response, err := g.send(path, body, 30*time.Second)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read the appliance's answer: %w", err)
	}
	return raw, nil
}

// send makes a request and gives the answer, which is a good one, within timeout; 0 is no limit.
func (g *grammar) send(path string, body any, timeout time.Duration) (*http.Response, error) {
	file, err := g.kubeconfigPath()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.Timeout = timeout
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	method, sent := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		if sent, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	request, err := http.NewRequest(method, config.Host+"/appliance/"+path, bytes.NewReader(sent))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	response, err := client.Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("the appliance of %s does not run; start it with `appliance serve`", g.DataDir)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the appliance: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read the appliance's answer: %w", err)
	}
	return nil, errors.New(strings.TrimSpace(string(raw)))
}

// output is the flag of commands that print a table.
type output struct {
	Output string `short:"o" help:"Format: table or json." default:"table" enum:"table,json"`
}

// print writes a view as JSON or by its table.
func (o output) print(s *streams, view any, table func(io.Writer)) error {
	if o.Output == "json" {
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		return e.Encode(view)
	}
	table(s.out)
	return nil
}
