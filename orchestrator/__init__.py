"""The orchestrator: takes jobs and navigates videos to answer their questions."""
