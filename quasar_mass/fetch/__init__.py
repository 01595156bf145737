"""Downloads of the real survey: resumable, verified, and never partial under a final name.

`run.fetch` is the command. `urls` lists where everything is published, `client` downloads, `verify` checks what came
and `manifest` remembers it. `spectra` fetches the many small files, `catalog_files` the two catalogues, `osf` the
reference's own tables, and `sparcl` spectra from another server. `plan` says what is there and what to type next.
"""
