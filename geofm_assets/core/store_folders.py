"""Files and folders of this machine with what the store holds, or to put into it.

A local store gives its own paths and copies nothing. Of a bucket they are working copies in the
scratch folder (`scratch`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from geofm_assets.core.store_files import StoreFiles


class StoreFolders(StoreFiles):
    """Files and folders by key under one URL."""

    def take_in(self, key: str, path: Path) -> None:
        """Move a finished file of this machine under a key, seen whole or not at all.

        Args:
            key: where it goes.
            path: of the file, in `working_folder` of the key's folder.
        """
        if self.is_local:
            path.replace(self.path(key).path)
            return
        self.path(key)
        self.bucket.objects.upload({key: path})
        path.unlink()

    def fetch_file(self, key: str) -> Path:
        """A file of this machine with what a key holds; read it only.

        Of a bucket it is a verified copy in the scratch folder, fetched once.

        Raises:
            FileNotFoundError: it was never written.
            StoreError: the bucket does not answer, or sends something else than it holds.
        """
        return self._fetched(key, one=True)

    def fetch_folder(self, prefix: str) -> Path:
        """A folder of this machine with everything below a prefix; read it only.

        Of a bucket it is a verified copy in the scratch folder, of one moment, fetched once.

        Raises:
            FileNotFoundError: nothing was ever written there.
            StoreError: the bucket does not answer, or sends something else than it holds.
        """
        return self._fetched(prefix, one=False)

    def _fetched(self, key: str, *, one: bool) -> Path:
        path = self.path(key)
        if not self.is_local:
            return self.bucket.fetch(key, one=one)
        if not (path.is_file() if one else path.is_dir()):
            raise FileNotFoundError(f"{self.url}/{key}")
        return Path(path.path)

    @contextmanager
    def publishing(self, prefix: str, *, keep: Sequence[str] = ()) -> Iterator[Path]:
        """A folder of this machine to write into, whose content readers then find at a prefix.

        A local store gives its own folder, as it is: whoever writes there does so atomically and
        puts what others go by last. Of a bucket it is a new one; when the block ends well its
        files become the content of the prefix, for every reader at once, and when it fails or
        the process dies readers have what they had.

        Args:
            prefix: of the folder. Keys written on their own below it stay beside its files.
            keep: patterns (`*` is anything) of files published before to begin with; a bucket
                forgets the others.

        Raises:
            StoreError: the bucket does not take the files.
        """
        path = self.path(prefix)
        if not self.is_local:
            with self.bucket.publishing(prefix, keep) as folder:
                yield folder
            return
        local = Path(path.path)
        local.mkdir(parents=True, exist_ok=True)
        yield local

    @contextmanager
    def adding(
        self, prefix: str, *, have: Sequence[str] = (), last: str = "", only: bool = False
    ) -> Iterator[Path]:
        """A folder of this machine whose new files are put under their own keys at a prefix.

        For formats whose file names change with their content and where one file names the
        others: readers go by that one. A local store gives its own folder, as it is.

        Args:
            prefix: of the folder.
            have: names of files that are needed to begin with; those that are not there are
                left out.
            last: name of the file that is put when all others are.
            only: remove from the bucket, at the end, what the folder does not hold.

        Raises:
            StoreError: the bucket does not take the files.
        """
        path = self.path(prefix)
        if not self.is_local:
            with self.bucket.adding(prefix, have, last, only=only) as folder:
                yield folder
            return
        local = Path(path.path)
        local.mkdir(parents=True, exist_ok=True)
        yield local

    def working_folder(self, key: str) -> Path:
        """A folder of this machine for unfinished work, found again by the next run; not made.

        A local store keeps it under the key, for a bucket it lies in the scratch folder and on
        this machine alone.
        """
        path = self.path(key)
        return Path(path.path) if self.is_local else self.bucket.scratch.kept_folder(key)
