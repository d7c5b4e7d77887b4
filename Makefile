.PHONY: install lint types test docs

install:
	pip install -e '.[dev]' -c constraints.txt

lint:
	ruff check .
	ruff format --check .
	lint-imports
	python docs/draw_rooms.py --check
	codespell

types:
	mypy

test:
	python -m pytest -n 2

docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict
