package mongo_test

const crashURI = "ORGSYNC_TEST_CRASH_URI"

func crashWriter(string) {}
