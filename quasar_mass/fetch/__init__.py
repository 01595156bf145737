"""Downloads of the real survey: resumable, verified, and never partial under a final name.

`run.fetch` is the command. `addresses` knows where everything is published, `client` asks servers politely, `content`
checks what came, `manifest` remembers it, `spectra` brings the many small files, `big_files` the two catalogues, `osf`
the reference's own tables, and `sparcl` spectra by another route with few requests.
"""
