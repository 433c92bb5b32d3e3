"""The numbers of README and docs/, made from committed files under results/ (`python -m studies.tables`)."""
