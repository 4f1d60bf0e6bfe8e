package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
)

// apiFlags say how to reach a running connector's API.
type apiFlags struct {
	url, tokenFile string
}

func (f *apiFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.url, "url", "http://localhost:8080", "where the connector runs")
	cmd.PersistentFlags().StringVar(&f.tokenFile, "token-file", "", "file with the admin token (default: ORGSYNC_ADMIN_TOKEN, or admin-token in the data directory)")
}

// apiClient calls the API.
type apiClient struct {
	base, token string
	http        *http.Client
}

func (f *apiFlags) client(s *settings) (*apiClient, error) {
	token := os.Getenv(config.Prefix + "ADMIN_TOKEN")
	path := f.tokenFile
	if path == "" && token == "" {
		dir := s.dataDir
		if dir == "" {
			dir = "data"
		}
		path = filepath.Join(dir, config.AdminTokenFile)
	}
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("admin token: %w; give it with --token-file or %sADMIN_TOKEN", err, config.Prefix)
		}
		token = strings.TrimSpace(string(text))
	}
	return &apiClient{base: strings.TrimRight(f.url, "/"), token: token, http: &http.Client{Timeout: 30 * time.Second}}, nil
}

func (a *apiClient) call(ctx context.Context, method, path string, query url.Values, body, into any) error {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+"/api/v1"+path+"?"+query.Encode(), reader)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	response, err := a.http.Do(request)
	if err != nil {
		return fmt.Errorf("no connector answers at %s (start one with `orgsync serve`, or give --url): %w", a.base, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("%s: read answer: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		var problem struct{ Title, Detail string }
		if json.Unmarshal(text, &problem) == nil && problem.Detail != "" {
			return errors.New(problem.Title + ": " + problem.Detail)
		}
		return fmt.Errorf("%s: HTTP %d", path, response.StatusCode)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w; is this an orgsync?", path, err)
	}
	return nil
}
