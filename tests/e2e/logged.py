"""The lines that MEMLINE_LOG writes, taken apart as the query of Azure's how-to for memory_profiler does it."""
import re

# What the query of the how-to takes out of a message: Kusto's parse takes as little for each column as it can.
ROW = re.compile(r"memory_profiler_logs: (.*?)  (.*?)  (.*?)  (.*?)  (.*)")
FILE = re.compile(r"memory_profiler_logs: Filename: (.*)")


class Tables:
    """What was logged: files, and rows of (line, mem, increment, occurrences, contents). Anything else is refused."""

    def __init__(self, text):
        self.files, self.rows = [], []
        for line in text.splitlines():
            assert len(line.encode()) < 4096
            if FILE.fullmatch(line):
                self.files.append(FILE.fullmatch(line).group(1))
                continue
            row = ROW.fullmatch(line)
            assert row and self.files, line
            number, mem, increment, occurrences, contents = row.groups()
            assert re.fullmatch(r"\d+", number) and re.fullmatch(r"\d+\.\d MiB", mem), line
            assert re.fullmatch(r"-?\d+\.\d MiB", increment) and re.fullmatch(r">?\d*", occurrences), line
            self.rows.append((int(number), mem, increment, occurrences, contents))

    def increments(self, tag):
        """Of the line with that tag, in the order in which they were logged."""
        return [row[2] for row in self.rows if row[4].endswith(f"# {tag}")]
