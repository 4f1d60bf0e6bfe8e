package simulate

import "github.com/openkoo/connector/marketplace/client"

// licenses are the calls of License goods (spec/marketplace.md §4, §5). They
// are played only where they are asked for: most goods have none.
func licenses() chapter {
	return chapter{"license-%s", []entry{
		{1, 0, "A License is asked for", "§4 getLicenseAsync", licensed},
		{2, 0, "The same License is asked for again: the same", "§4 getLicenseAsync", licensedAgain},
		{3, client.V2, "The License of an unknown instance: 000003", "§2", unknownLicensed},
		{4, client.V2, "eventId is missing", "§4 getLicenseAsync", refusedChange("getLicenseAsync", func(id string, _ line) client.Members { return license(id, "").Without("eventId") })},
		{5, client.V1, "A License is renewed, expires and is released; each twice", "§5", licenseLife},
	}}
}

func license(id, event string) client.Members {
	return client.Members{
		{Name: "instanceId", Value: id}, {Name: "eventId", Value: event}, {Name: "effectiveTime", Value: "2024-01-05 10:30:15"},
		{Name: "deviceFingerprint", Value: "simulated-device"},
	}
}

func (s *scene) licenseActivity() string {
	if s.generation == client.V1 {
		return "getLicense"
	}
	return "getLicenseAsync"
}

func hasLicense(a *answer) *Finding {
	if a.code == codeSuccess && a.text("license") == "" {
		return finding(MissingMember, "license", "an answer without it")
	}
	return nil
}

func licensed(s *scene) {
	id := s.buy("an instance is ordered", s.order())
	s.call("its License is asked for", s.licenseActivity(), license(id, s.id("e")), wants(WrongCode, codeSuccess, codeProcessing), verified(hasLicense))
}

func licensedAgain(s *scene) {
	id, event := s.buy("an instance is ordered", s.order()), s.id("e")
	first := s.call("its License is asked for", s.licenseActivity(), license(id, event), wants(WrongCode, codeSuccess, codeProcessing), verified(hasLicense))
	again := s.call("it is asked for again", s.licenseActivity(), license(id, event), wants(NotIdempotent, codeSuccess, codeProcessing), verified(hasLicense))
	if first.code == codeSuccess && again.text("license") != first.text("license") {
		s.fail("it is asked for again", NotStable, "the same License", "another")
	}
}

func unknownLicensed(s *scene) {
	s.call("its License is asked for", s.licenseActivity(), license(s.id("nobody"), s.id("e")), unknown())
}

func licenseLife(s *scene) {
	id := s.buy("an instance is ordered", s.order())
	s.twice("it is renewed", "refreshLicense", client.Members{{Name: "instanceId", Value: id}, {Name: "orderId", Value: s.order().order}, {Name: "expireTime", Value: "20991231235959"}})
	s.twice("it expires", "expireLicense", query(id))
	s.call("it is released", "releaseLicense", query(id))
	s.call("it is released again", "releaseLicense", query(id), wants(DeleteNotIdempotent, codeSuccess))
}
