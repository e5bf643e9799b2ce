"""The Typer app `expunge`: one module per noun; parses, calls a pipeline or a service, prints."""
