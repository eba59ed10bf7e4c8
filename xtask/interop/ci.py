"""JUnit XML meets the schema that Jenkins' xUnit plugin has, for each recording, and has one suite with its findings."""

import xml.etree.ElementTree

import xmlschema

from common import RECORDINGS, cowtrace, equal, findings

schema = xmlschema.XMLSchema(RECORDINGS.parent / "schemas/junit-10.xsd")
names = sorted(path.name for path in RECORDINGS.glob("*.cow"))
for name in names:
    text = cowtrace("report", "--format", "junit", RECORDINGS / name)
    schema.validate(text)
    cases = xml.etree.ElementTree.fromstring(text).iter("testcase")
    bad = {case.get("name") for case in cases if case.find("failure") is not None}
    found = {finding["verdict"] for finding in findings(name).values()}
    equal(f"{name}: what fails", bad, found - {"suspect-get", "inconclusive"})

# That the schema would not take anything.
if schema.is_valid(text.replace("<testcase", "<testcases").replace("</testcase", "</testcases")):
    raise SystemExit("anything goes")
schema.validate(cowtrace("report", "--format", "junit", *[RECORDINGS / name for name in names]))
