package doctor

import "context"

// CheckConfiguration notes the faults of the configuration, each by itself, or
// else what it amounts to.
func CheckConfiguration(faults []error, summary string) Check {
	return Check{Name: "configuration", Run: func(_ context.Context, notes *Notes) {
		for _, fault := range faults {
			notes.Problemf("Correct the setting; docs/configuration.md lists them all. Nothing else is examined before.", "%s", fault)
		}
		if len(faults) == 0 {
			notes.OKf("%s", summary)
		}
	}}
}
