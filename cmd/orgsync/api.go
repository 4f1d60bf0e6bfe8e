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
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openkoo/connector/config"
	"github.com/openkoo/connector/secrets"
)

// apiFlags say how to reach a running connector's API.
type apiFlags struct {
	url, tokenFile string
}

func (f *apiFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.url, "url", "", "where the connector runs (default from the configuration, http://localhost:8080)")
	cmd.PersistentFlags().StringVar(&f.tokenFile, "token-file", "", "file with the admin token (default from the configuration, or admin-token in the data directory)")
}

// apiClient calls the API.
type apiClient struct {
	base, token string
	http        *http.Client
}

// maxAPIAnswer bounds what is read of an answer, in bytes.
const maxAPIAnswer = 256 << 20

// callTimeout bounds one call of the API.
const callTimeout = 40 * time.Second

// client fills in what the flags leave out from the configuration, as `serve`
// would read it here.
func (f *apiFlags) client(s *settings) (*apiClient, error) {
	a := &apiClient{base: strings.TrimRight(f.url, "/"), http: &http.Client{Timeout: callTimeout}}
	path := f.tokenFile
	if a.base == "" || path == "" {
		c, err := s.load()
		if err != nil {
			return nil, err
		}
		if a.base == "" {
			a.base = localAddress(c.Listen)
		}
		if path == "" {
			a.token, path = c.AdminToken.Reveal(), filepath.Join(c.DataDir, config.AdminTokenFile)
		}
	}
	if u, err := url.Parse(a.base); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("--url %q: want http:// or https:// and a host", f.url)
	}
	if a.token != "" {
		return a, nil
	}
	text, err := secrets.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("admin token: %w; give it with --token-file or %sADMIN_TOKEN, or name the connector's directory with --data-dir", err, config.Prefix)
	}
	a.token = string(text)
	return a, nil
}

// call sends body as JSON and reads the answer's JSON into into; a *[]byte takes
// the answer as it comes.
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
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("no connector answers at %s: %w; start one with `orgsync serve`, or give --url", a.base, cause(err))
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAPIAnswer))
	if err != nil {
		return fmt.Errorf("%s: read answer: %w", path, err)
	}
	if response.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("%s does not take the admin token; give the right one with --token-file or %sADMIN_TOKEN", a.base, config.Prefix)
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusAccepted {
		var problem struct{ Title, Detail string }
		if json.Unmarshal(text, &problem) == nil && problem.Detail != "" {
			return errors.New(problem.Title + ": " + problem.Detail)
		}
		return fmt.Errorf("%s%s: HTTP %d; is this an orgsync?", a.base, path, response.StatusCode)
	}
	if raw, ok := into.(*[]byte); ok {
		*raw = text
		return nil
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s%s: %w; is this an orgsync?", a.base, path, err)
	}
	return nil
}
