package admin

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/storage"
)

func (a *API) resync(c *gin.Context) {
	dryRun, err := oneOf(c, "dryRun", "false", "true")
	if err != nil {
		fail(c, err)
		return
	}
	accept, err := oneOf(c, "acceptMissing", "false", "true")
	if err != nil {
		fail(c, err)
		return
	}
	name := inPath(c, "name")
	options := fanout.ResyncOptions{DryRun: dryRun == "true", AcceptMissing: accept == "true"}
	report, err := a.Resyncer.Resync(c.Request.Context(), name, options)
	if err != nil {
		fail(c, err)
		return
	}
	a.Logger.Info("audit: target resynced", "target", name, "resync", report.ID, "dryRun", options.DryRun, "acceptMissing", options.AcceptMissing, "remote", c.ClientIP())
	c.Header("Location", c.Request.URL.Path+"s/"+report.ID)
	c.JSON(http.StatusAccepted, report)
}

func (a *API) resyncs(c *gin.Context) {
	p, err := page(c)
	if err == nil {
		err = a.knownTarget(inPath(c, "name"))
	}
	if err != nil {
		fail(c, err)
		return
	}
	reports, cursor, err := a.Reports.Resyncs(c.Request.Context(), inPath(c, "name"), p)
	respond(c, a, reports, cursor, err)
}

func (a *API) resyncReport(c *gin.Context) {
	format, err := oneOf(c, "format", "json", "csv")
	if err == nil {
		err = a.knownTarget(inPath(c, "name"))
	}
	if err != nil {
		fail(c, err)
		return
	}
	report, err := a.Reports.Resync(c.Request.Context(), inPath(c, "id"))
	if err == nil && report.Target != inPath(c, "name") {
		err = fmt.Errorf("resync %s is of another target: %w", inPath(c, "id"), storage.ErrNotFound)
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Header("Content-Disposition", fmt.Sprintf(`attachment; filename="resync-%s-%s.%s"`, report.Target, report.StartedAt.UTC().Format("20060102T150405Z"), format))
	if format == "json" {
		c.JSON(http.StatusOK, report)
		return
	}
	c.Header("Content-Type", "text/csv; charset=utf-8")
	c.Status(http.StatusOK)
	if err := writeDrifts(csv.NewWriter(c.Writer), report.Drifts); err != nil {
		a.Logger.Debug("a report was not read to its end", "error", err)
	}
}

func (a *API) knownTarget(name string) error {
	for _, t := range a.Deliverer.Targets() {
		if t.Name == name {
			return nil
		}
	}
	return fmt.Errorf("%w: %q", fanout.ErrUnknownTarget, name)
}

func writeDrifts(w *csv.Writer, drifts []storage.Drift) error {
	rows := [][]string{{
		"finding", "kind", "dataset", "instanceId", "tenantId", "key", "group", "remoteId", "name", "attributes", "repaired", "unkept",
	}}
	for _, d := range drifts {
		rows = append(rows, []string{
			string(d.Finding), d.Kind.String(), string(d.Scope.Dataset), cell(d.Scope.InstanceID), cell(d.Scope.TenantID), cell(d.Key),
			cell(d.Group), cell(d.RemoteID), cell(d.Name), cell(strings.Join(d.Attributes, " ")), strconv.FormatBool(d.Repaired), strconv.FormatBool(d.Unkept),
		})
	}
	return w.WriteAll(rows)
}

// formulas are the characters that begin a formula, or hide that something behind
// them does. East Asian spreadsheets take the full-width ones too.
const formulas = "=+-@＝＋－＠\t\r\n"

// cell keeps a spreadsheet from taking for a formula what somebody has named an
// object at a target.
func cell(text string) string {
	if first, _ := utf8.DecodeRuneInString(text); text != "" && strings.ContainsRune(formulas, first) {
		return "'" + text
	}
	return text
}
