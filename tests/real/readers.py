"""Plain readers of a Parquet directory: they list it and read what is there, knowing nothing of
Floodmark. DuckDB, PyArrow and Polars must all see the same rows and the same instants."""

import site

import duckdb
import polars
import pyarrow
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.fs
from model import LateRow, Window

INSTANT = pyarrow.timestamp("us", tz="UTC")


class Store:
    """A place for Parquet directories: an S3 server or the local file system."""

    def __init__(self, name, root, endpoint=None, access_key=None, secret_key=None, region=None):
        self.name, self.root, self.endpoint = name, root, endpoint
        self.access_key, self.secret_key, self.region = access_key, secret_key, region
        if endpoint:
            self.files = pyarrow.fs.S3FileSystem(
                endpoint_override=endpoint, access_key=access_key, secret_key=secret_key, region=region
            )
        else:
            self.files = pyarrow.fs.LocalFileSystem()

    def plain_path(self, url):
        return url.removeprefix("s3://").removeprefix("file://")

    def names(self, url):
        """Every file under a directory."""
        selector = pyarrow.fs.FileSelector(self.plain_path(url), recursive=True, allow_not_found=True)
        return sorted(info.path for info in self.files.get_file_info(selector) if info.is_file)

    def parquet(self, url):
        return [name for name in self.names(url) if name.endswith(".parquet")]

    def table(self, url):
        """The directory as one table, or None when it holds no file."""
        if not self.parquet(url):
            return None
        return pyarrow.dataset.dataset(
            self.plain_path(url), filesystem=self.files, format="parquet", partitioning="hive"
        ).to_table()

    def duckdb(self):
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        if self.endpoint:
            extension = f"extensions/v{duckdb.__version__}/httpfs.duckdb_extension"
            connection.execute(f"LOAD '{site.getsitepackages()[0]}/duckdb_extension_httpfs/{extension}'")
            scheme, _, host = self.endpoint.partition("://")
            connection.execute(
                f"CREATE SECRET store (TYPE s3, KEY_ID '{self.access_key}', SECRET '{self.secret_key}', "
                f"ENDPOINT '{host}', URL_STYLE 'path', USE_SSL {scheme == 'https'}, REGION '{self.region}')"
            )
        return connection

    def polars_options(self):
        if not self.endpoint:
            return {}
        return {
            "aws_endpoint_url": self.endpoint,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "aws_region": self.region,
            "aws_allow_http": "true",
        }


def instants(table, name):
    """A timestamp column as microseconds since the epoch; it must be stored as an instant in UTC."""
    column = table.column(name)
    if column.type != INSTANT:
        raise AssertionError(f"column {name} has type {column.type}, not {INSTANT}")
    return column.cast(pyarrow.int64()).to_pylist()


def read_windows(store, url):
    """The curated output as `Window` rows."""
    table = store.table(url)
    if table is None:
        return []
    columns = ["events", "avg_temperature_c", "max_vibration_g"]
    start, end = instants(table, "window_start"), instants(table, "window_end")
    check_partitions(table)
    rest = (table.column(name).to_pylist() for name in columns)
    return [Window(*row) for row in zip(table.column("device_id").to_pylist(), start, end, *rest, strict=True)]


def check_partitions(table):
    """Hive's `date` and `hour` say what the row's window says."""
    start = table.column("window_start")
    # strftime pads no year below 1000, hence the year apart.
    year = pc.utf8_lpad(pc.cast(pc.year(start), pyarrow.string()), 4, "0")
    date = pc.binary_join_element_wise(year, pc.strftime(start, "%m-%d"), "-")
    wrong_date = pc.sum(pc.not_equal(date, pc.cast(table.column("date"), pyarrow.string()))).as_py()
    hour = pc.cast(table.column("hour"), pyarrow.int64())
    wrong_hour = pc.sum(pc.not_equal(pc.cast(pc.hour(start), pyarrow.int64()), hour)).as_py()
    if wrong_date or wrong_hour:
        raise AssertionError(f"{wrong_date} rows lie in another date's directory and {wrong_hour} in another hour's")


def read_late(store, url):
    """The late output as `LateRow` rows."""
    table = store.table(url)
    if table is None:
        return []
    names = ["topic", "partition", "offset"]
    times = [instants(table, name) for name in ("window_start", "window_end", "event_time")]
    stamps = [stamp // 1000 for stamp in instants(table, "timestamp")]
    rest = [table.column(name).to_pylist() for name in names]
    output, row = (table.column(name).to_pylist() for name in ("output", "row"))
    return [LateRow(*values) for values in zip(output, *times, *rest, stamps, row, strict=True)]


def summaries(store, url):
    """What each reader makes of the curated directory: rows, events, the sum of the averages and of
    the window starts in seconds. They must be equal."""
    sql = """
        SELECT count(*), sum(events)::BIGINT, sum(avg_temperature_c), sum(epoch_us(window_start) // 1000000)::BIGINT,
               any_value(typeof(window_start))
        FROM read_parquet($files, hive_partitioning = true)
    """
    files = f"{url.removeprefix('file://')}/**/*.parquet"
    with store.duckdb() as connection:
        *by_duckdb, kind = connection.execute(sql, {"files": files}).fetchone()
    assert kind == "TIMESTAMP WITH TIME ZONE", f"DuckDB reads window_start as {kind}"

    frame = polars.scan_parquet(files, hive_partitioning=True, storage_options=store.polars_options())
    kind = frame.collect_schema()["window_start"]
    assert kind == polars.Datetime("us", "UTC"), f"Polars reads window_start as {kind}"
    seconds = polars.col("window_start").dt.epoch("s").sum()
    by_polars = frame.select(
        polars.len(), polars.col("events").sum(), polars.col("avg_temperature_c").sum(), seconds.alias("seconds")
    ).collect()

    table = store.table(url)
    by_pyarrow = [
        table.num_rows,
        pc.sum(table.column("events")).as_py(),
        pc.sum(table.column("avg_temperature_c")).as_py(),
        sum(start // 1_000_000 for start in instants(table, "window_start")),
    ]
    return {"DuckDB": by_duckdb, "Polars": list(by_polars.row(0)), "PyArrow": by_pyarrow}


def check_readers(store, url):
    """Findings where two readers disagree; sums of floats may differ in order, hence in the last digits."""
    found = summaries(store, url)
    reference = found["PyArrow"]
    problems = []
    for reader, values in found.items():
        same = values[:2] == reference[:2] and values[3] == reference[3]
        close = abs((values[2] or 0) - (reference[2] or 0)) <= 1e-9 * abs(reference[2] or 0)
        if not (same and close):
            problems.append(f"{reader} reads {values}, PyArrow {reference}")
    return problems
