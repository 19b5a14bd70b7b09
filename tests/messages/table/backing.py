from row import ERRNO, OUT, Cannot, NoRemedy, Part, Row, Run, Test

ROWS = {}

ROWS["src/backing/backing.cc"] = [
    Row("{}: {}",
        "missing", "no such file", "check the path",
        Run("attach missing")),
    Row("its clients share this host's page cache",
        how=Part("why an image is buffered, in status and in the log; nothing is wrong")),
    Row("{}: cannot be opened again: {}",
        how=Part("carries why an image cannot be opened again")),
    Row("{}: direct I/O of {} bytes at {} was refused (EINVAL) although the file accepted it "
        "at attach; going on buffered",
        "{}", "was refused (EINVAL)", "going on buffered",
        Cannot("it needs a file system that takes a direct read and then refuses one")),
    Row("{}: has {} bytes{}, and a device of {} does not fit; make the image larger with "
        "'truncate -s SIZE FILE', or the device smaller",
        "image", "has 1048576 bytes", "make the image larger",
        Run("set disk --size 4M", before="served")),
    Row("{}: what was written last may not be on stable storage; check the file system under it",
        "/image", "may not be on stable storage", "check the file system under it",
        Run("detach disk", before="without fdatasync,fsync:EIO served")),
]

ROWS["src/backing/direct_io.cc"] = [
    Row("the file system accepts O_DIRECT but a direct read fails: {}",
        how=Part('the reason in "{}; {}" below, of a file system that says yes and means no')),
    Row("the file system has no direct I/O for this file",
        how=Part('the reason in "{}; {}" below')),
    Row("the file system has no direct I/O",
        how=Part('the reason in "{}; {}" below')),
    Row("opening it with O_DIRECT fails: {}",
        how=Part('the reason in "{}; {}" below')),
    Row("sector size {} is not possible; use 512, 1024, 2048 or 4096",
        "sector size {}", "is not possible", "use 512, 1024",
        Cannot("check_options refuses such a size before")),
    Row("offset {} is not a multiple of {}, which direct I/O on this file needs",
        "image", "offset 1000 is not a multiple", "use a multiple",
        Run("attach --offset 1000 --direct-io=on --transport ublk image")),
    Row("use a multiple or --direct-io=auto",
        "image", "offset 1000 is not a multiple", "use a multiple",
        Run("attach --offset 1000 --direct-io=on --transport ublk image")),
    Row("direct I/O on this file needs sectors of {} bytes, and {} is the most possible",
        how=Part('the reason in "{}; {}" below, of disks with blocks larger than a page')),
    Row("direct I/O on this file needs sectors of {} bytes, not {}",
        how=Part('the reason in "{}; {}" below, of disks with blocks larger than 512 bytes')),
    Row("use --sector-size={} or --direct-io=auto",
        how=Part('the way out in "{}; {}" below, of disks with blocks larger than 512 bytes')),
    Row("{}; {}",
        "image", "offset 1000 is not a multiple", "use a multiple",
        Run("attach --offset 1000 --direct-io=on --transport ublk image")),
]

ROWS["src/backing/geometry.cc"] = [
    Row("offset {} plus sizelimit {} is beyond 2^63-1; make them smaller",
        "image", "beyond 2^63-1", "make them smaller",
        Run("attach --offset 9223372036854775807 --sizelimit 512 image")),
    Row("offset {} is beyond its end ({} bytes); use a smaller --offset",
        "image", "beyond its end", "use a smaller --offset",
        Run("attach --offset 2M image")),
    Row("sizelimit {} is less than one sector of {} bytes; use a larger --sizelimit",
        "image", "less than one sector", "use a larger --sizelimit",
        Run("attach --transport ublk --sizelimit 100 image")),
    Row("its {} bytes{} are less than one sector of {} bytes; enlarge it with 'truncate -s "
        "SIZE FILE'{}",
        "tiny", "less than one sector", "truncate -s SIZE FILE",
        Run("attach --transport ublk tiny", before="truncate -s 511 tiny")),
    Row(" or use a smaller --offset",
        "image", "less than one sector", "use a smaller --offset",
        Run("attach --transport ublk --offset 1048376 image")),
]

ROWS["src/backing/image.cc"] = [
    Row("of a kind that holds no bytes",
        how=Part('what "{}: is {}" below calls a file of a kind that Linux does not have yet')),
    Row("{}: no such file; check the path, or create the image with 'truncate -s SIZE FILE'",
        "missing", "no such file", "check the path",
        Run("attach missing")),
    Row("{}: no permission to search a directory of this path; run as a user who may, or move "
        "the image",
        "{}",
        "no permission to search a directory of this path",
        "run as a user who may, or move the image",
        Test("unit ImageTest.a_directory_that_cannot_be_searched_is_told_from_a_missing_file")),
    Row("{}: cannot be looked up",
        "loop", "Too many levels of symbolic links", "see where its symbolic links lead",
        Run("attach loop", before="ln -s loop loop")),
    Row("{}: no permission to read it; run as a user who may, or change its mode",
        "{}", "no permission to read it", "run as a user who may, or change its mode",
        Test("unit ImageTest.a_file_that_cannot_be_read_does_not_suggest_read_only")),
    Row("{}: cannot be opened: {}",
        "{}", "cannot be opened: {}", NoRemedy("the second half has its own, where there is one"),
        Cannot("it needs a file system that opens what it does not open by its descriptor")),
    Row("{}: no permission to write it; attach it with --read-only, or run as a user who may",
        "{}", "no permission to write it", "attach it with --read-only, or run as a user who may",
        Test("unit ImageTest."
             "a_file_that_can_only_be_read_asks_for_read_only_and_does_not_turn_so_itself")),
    Row("{}: writing is not permitted (immutable or append-only, see lsattr); attach it with "
        "--read-only",
        "{}",
        "writing is not permitted (immutable or append-only, see lsattr)",
        "attach it with --read-only",
        Test("unit ImageTest."
             "a_file_that_can_only_be_read_asks_for_read_only_and_does_not_turn_so_itself")),
    Row("{}: its file system or device is read-only; attach it with --read-only",
        "{}", "its file system or device is read-only", "attach it with --read-only",
        Test("unit OnReadOnlyDevice.a_read_only_block_device_asks_for_read_only")),
    Row("{}: in use as a swap file or a running program; stop that, or attach it with "
        "--read-only",
        "{}", "a running program", "attach it with --read-only",
        Test("unit ImageTest.a_running_program_asks_for_read_only")),
    Row("{}: this block device does not answer",
        "{}", ERRNO, ERRNO,
        Cannot("it needs a disk that goes away between the look-up and the opening")),
    Row("no image was named; give the path of one",
        "no image", "was named", "give the path of one",
        Test("unit ImageTest.no_name_at_all_is_refused")),
    Row("{}: is {}; an image is a regular file or a block device",
        "folder", "is a directory", "an image is a regular file or a block device",
        Run("attach folder", before="mkdir folder")),
    Row("{}: its size cannot be read",
        "{}", ERRNO, ERRNO,
        Cannot("fstat of an open file fails only on broken network file systems")),
    Row("{}: the size of this block device cannot be read",
        "{}", ERRNO, ERRNO,
        Cannot("BLKGETSIZE64 of an open block device fails only when it is going away")),
    Row("{}: is empty, so the device would have no bytes; give it a size with 'truncate -s "
        "SIZE FILE'",
        "empty", "would have no bytes", "truncate -s SIZE FILE",
        Run("attach empty", before=": >empty")),
    Row("/proc is missing; mount it with 'mount -t proc proc /proc'",
        "/proc", "is missing", "mount -t proc proc /proc",
        Cannot("it needs a mount namespace without /proc")),
]

ROWS["src/backing/image_lock.cc"] = [
    Row("somebody else has this part of the image locked; detach or end it there",
        "image", "somebody else", "detach or end it",
        Test("blackbox an_image_belongs_to_one_writer.sh")),
]

ROWS["src/backing/other.cc"] = [
    Row("the image cannot be opened again: {}",
        "the image",
        "cannot be opened again",
        NoRemedy("the second half has its own, where there is one"),
        Cannot("it needs a file that vanishes between two opens")),
    Row("{}: {}",
        how=Part("carries a warning of the lock")),
    Row("{}: makes a device of {} bytes, and this one has {}; use an image of the same size",
        "small", "makes a device of", "use an image of the same size",
        Run("set disk --backing-file small --force", before="served; truncate -s 512K small")),
    Row("{}: direct I/O needs requests of whole blocks of {} bytes, and users of this device "
        "were told that they may begin and end at {}; leave it buffered, or detach it and "
        "attach the image with --direct-io",
        "{}",
        "direct I/O needs requests of whole blocks of {} bytes, and users of this device were "
        "told that they may begin and end at {}",
        "leave it buffered, or detach it and attach the image with --direct-io",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("any multiple of {}",
        how=Part("part of the message above")),
    Row("{}: takes no discards, and users of this device were told that it does; use an image "
        "on a file system that can punch holes",
        "{}",
        "takes no discards, and users of this device were told that it does",
        "use an image on a file system that can punch holes",
        Cannot("it needs two file systems, of which one cannot punch holes")),
]

ROWS["src/backing/preallocate.cc"] = [
    Row("{}: its filesystem has {} free of {} that are needed; make room, or attach it without "
        "--preallocate",
        "big", "free of", "make room, or attach it without --preallocate",
        Run("attach --transport socket --preallocate big", before="truncate -s 8T big")),
    Row("{}: its filesystem cannot set blocks aside (fallocate); write the file with dd, or attach "
        "it without --preallocate",
        "image", "cannot set blocks aside", "write the file with dd",
        Run("attach --transport socket --preallocate image", denied="fallocate:EOPNOTSUPP")),
    Row("{}: blocks for bytes {} to {} cannot be allocated",
        "image", "Input/output error", "see dmesg",
        Run("attach --transport socket --preallocate image", denied="fallocate:EIO")),
]

ROWS["src/backing/scrub.cc"] = [
    Row("no memory for a buffer of {} bytes; free some",
        "a buffer of {} bytes", "no memory", "free some",
        OUT),
]
