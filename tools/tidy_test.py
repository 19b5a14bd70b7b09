#!/usr/bin/env python3
"""Plants each violation in a tree of its own and expects tools/tidy.py to report it."""

import pathlib
import tempfile
import unittest

import tidy

HEADER = "#pragma once\n"


def body(lines, name="f"):
    """A C++ function of `lines` lines in all."""
    return f"void {name}() {{\n" + "    g();\n" * (lines - 2) + "}\n"


class TidyTest(unittest.TestCase):

    def violations(self, files):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text, encoding="utf-8")
            return [str(violation) for violation in tidy.check_tree(root)[0]]

    def assert_reported(self, files, *words):
        found = self.violations(files)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def assert_clean(self, files):
        self.assertEqual(self.violations(files), [])

    # ---- layers

    def include(self, source, header):
        return {source: f'#include "{header}"\n', f"src/{header}": HEADER}

    def test_every_include_to_a_higher_layer_is_reported(self):
        for low, layer in enumerate(tidy.LAYERS):
            for higher in tidy.LAYERS[low + 1:]:
                with self.subTest(layer=layer, higher=higher):
                    self.assert_reported(self.include(f"src/{layer}/a.cc", f"{higher}/b.h"),
                                         f"src/{layer}/a.cc:1", f"{layer} stands below {higher}")

    def test_every_include_to_a_lower_layer_is_clean(self):
        for high, layer in enumerate(tidy.LAYERS):
            for lower in tidy.LAYERS[:high + 1]:
                with self.subTest(layer=layer, lower=lower):
                    self.assert_clean(self.include(f"src/{layer}/a.cc", f"{lower}/b.h"))

    def test_a_unit_test_obeys_the_layer_of_its_folder(self):
        self.assert_reported(self.include("src/io/a_test.cc", "engine/b.h"), "io stands below")

    def test_a_frontend_does_not_see_another(self):
        self.assert_reported(self.include("src/frontend/ublk/a.cc", "frontend/nbd/b.h"),
                             "ublk and nbd do not know each other")
        self.assert_reported(self.include("src/frontend/a.cc", "frontend/nbd/b.h"), "do not know")

    def test_a_frontend_sees_itself_and_what_all_share(self):
        self.assert_clean(self.include("src/frontend/ublk/a.cc", "frontend/ublk/b.h"))
        self.assert_clean(self.include("src/frontend/ublk/a.cc", "frontend/b.h"))

    def test_the_simulator_is_for_tests(self):
        for path in ("src/engine/a.cc", "src/cli/a.cc", "src/main.cc"):
            with self.subTest(path=path):
                self.assert_reported(self.include(path, "sim/b.h"), "the simulator is for tests")
        self.assert_clean(self.include("src/engine/a_test.cc", "sim/b.h"))
        self.assert_clean(self.include("bench/a.cc", "sim/b.h"))

    def test_the_simulator_sees_up_to_the_frontends(self):
        self.assert_clean(self.include("src/sim/a.cc", "frontend/ublk/b.h"))
        self.assert_reported(self.include("src/sim/a.cc", "control/b.h"), "stands below control")

    def test_an_include_that_is_not_written_from_src_is_reported(self):
        files = {"src/io/a.cc": '#include "b.h"\n', "src/io/b.h": HEADER}
        self.assert_reported(files, "written from src")

    def test_a_folder_nobody_listed_is_reported(self):
        self.assert_reported(self.include("src/io/a.cc", "misc/b.h"), "not in LAYERS")
        self.assert_reported(self.include("src/misc/a.cc", "io/b.h"), "not in LAYERS")

    def test_the_generated_header_is_known(self):
        self.assert_clean({"src/cli/a.cc": '#include "version.h"\n'})

    def test_liburing_is_seen_by_io_alone(self):
        for path in ("src/engine/a.cc", "src/backing/a.cc", "bench/a.cc"):
            with self.subTest(path=path):
                self.assert_reported({path: "#include <liburing.h>\n"}, "src/io alone")
        self.assert_reported({"src/engine/a.cc": "#include <liburing/io_uring.h>\n"}, "src/io")
        self.assert_clean({"src/io/a.cc": "#include <liburing.h>\n"})

    def test_kernel_headers_are_for_the_folders_that_speak_to_the_kernel(self):
        self.assert_reported({"src/engine/a.cc": "#include <linux/fs.h>\n"}, "kernel's headers")
        self.assert_reported({"src/main.cc": "#include <linux/fs.h>\n"}, "kernel's headers")
        for layer in tidy.KERNEL_HEADER_LAYERS:
            self.assert_clean({f"src/{layer}/a.cc": "#include <linux/fs.h>\n"})

    def test_a_transport_named_in_the_engine_is_reported(self):
        for word in ("ublk", "NBD", "virtio_blk", "Vhost", "sector_size"):
            with self.subTest(word=word):
                self.assert_reported({"src/engine/a.h": f"// as {word} does\n"}, "no transport")
        self.assert_clean({"src/frontend/ublk/a.h": "// ublk, nbd, virtio, vhost, sector\n"})

    # ---- lengths

    def test_a_long_function_is_reported_once_at_its_first_line(self):
        limit = tidy.FUNCTION_LINES_MAX
        self.assert_clean({"src/io/a.cc": body(limit)})
        self.assert_reported({"src/io/a.cc": "int x;\n\n" + body(limit + 1)}, "src/io/a.cc:3", "71")

    def test_functions_of_every_shape_are_measured(self):
        steps = "    g();\n" * tidy.FUNCTION_LINES_MAX
        heads = (
            "int Name::f(int a) const noexcept {",
            "auto f() -> std::vector<int> {",
            "Name::Name(int a) : a_(a), b_{a} {",
            "Name::Name(int a)\n    : a_{a},\n      b_(2) {",
            "TEST(Suite, name) {",
            "const auto f = [](int a) {",
            "extern \"C\" int f(int a) {",
            "template <typename T>\nvoid f(T a) {",
        )
        for head in heads:
            with self.subTest(head=head):
                tail = "};\n" if "= [" in head else "}\n"
                self.assert_reported({"src/io/a.cc": f"{head}\n{steps}{tail}"}, "a function of")

    def test_a_member_function_is_measured_without_its_class(self):
        short = body(40, "f") + body(40, "g")
        for head in ("class A {\npublic:\n", "namespace a {\n", "struct alignas(8) A final {\n"):
            with self.subTest(head=head):
                self.assert_clean({"src/io/a.h": f"{head}{short}}};\n"})
                self.assert_reported({"src/io/a.h": f"{head}{body(71)}}};\n"}, "a function of 71")

    def test_the_corpus_of_a_fuzzer_may_look_as_it_likes(self):
        self.assert_clean({"fuzz/corpus/nbd_negotiate/x": "\tno newline "})
        self.assert_reported({"fuzz/x": "no newline"}, "no newline")

    def test_a_table_is_not_a_function(self):
        rows = "    {1, \"x\"},\n" * 90
        self.assert_clean({"src/io/a.cc": f"constexpr Table<Row, size(1)> a = {{\n{rows}}};\n"})
        self.assert_clean({"src/io/a.cc": f"enum class A : u8 {{\n{rows}}};\n"})

    def test_braces_in_text_do_not_count(self):
        line = "    g(\"}\", '{', R\"(}})\", 1'000);  // }\n"
        self.assert_clean({"src/io/a.cc": ("void f() {\n" + line * 60 + "}\n") * 2})
        self.assert_reported({"src/io/a.cc": "void f() {\n" + line * 71 + "}\n"}, "a function of")

    def test_long_python_and_shell_functions_are_reported(self):
        self.assert_reported({"bench/a.py": "def f():\n" + "    g()\n" * 70}, "a function of 71")
        self.assert_reported({"bench/a.sh": "f() {\n" + "    g\n" * 69 + "}\n"}, "a function of 71")
        self.assert_clean({"bench/a.sh": "f() {\n" + "    g\n" * 68 + "}\n"})

    def test_a_long_file_is_reported(self):
        self.assert_clean({"src/io/a.h": "int a;\n" * tidy.FILE_LINES_MAX})
        self.assert_reported({"src/io/a.h": "int a;\n" * (tidy.FILE_LINES_MAX + 1)}, "601 lines")

    def test_a_wide_line_is_reported_but_not_in_markdown(self):
        self.assert_clean({"a.cmake": "#" * 100 + "\n", "a.md": "x" * 200 + "\n"})
        self.assert_reported({"a.cmake": "\n" + "#" * 101 + "\n"}, "a.cmake:2", "101 columns")

    # ---- characters and words

    def test_white_space_is_reported(self):
        self.assert_reported({"a.md": "a \n"}, "end of the line")
        self.assert_reported({"src/io/a.h": "\tint a;\n"}, "a tab")
        self.assert_reported({"src/io/a.h": "int a;"}, "no newline")
        self.assert_clean({"Makefile": "all:\n\ttrue\n"})

    def test_unfinished_work_is_reported(self):
        for word in ("TO" "DO", "FIX" "ME", "X" "XX"):
            with self.subTest(word=word):
                self.assert_reported({"src/io/a.h": f"// {word}: later\n"}, word)
        self.assert_clean({"tests/a.sh": "mktemp name.XXXX" "XX\n"})

    def test_a_path_of_one_machine_is_reported(self):
        for path in ("/wo" "rk/x", "/ro" "ot/x"):
            with self.subTest(path=path):
                self.assert_reported({"a.md": f"see {path}\n"}, "path of one machine")
        self.assert_clean({"a.md": "upper/wo" "rk/x, $guest/ro" "ot/x\n"})

    def test_a_sleep_is_reported_everywhere(self):
        calls = ("sleep(1);", "usleep(1);", "nanosleep(&t, nullptr);",
                 "std::this_thread::sleep_for(1s);", "std::this_thread::sleep_until(t);")
        for call in calls:
            with self.subTest(call=call):
                self.assert_reported({"src/io/a_test.cc": f"void f() {{ {call} }}\n"}, "a sleep")
        for call in ("sleep 1", "f && sleep 0.1", "while ! f; do sleep $n; done", "(sleep 9) &"):
            with self.subTest(call=call):
                self.assert_reported({"tests/a.sh": call + "\n"}, "a sleep")
        self.assert_clean({"tests/a.sh": "asleep 1  # sleep 1\n", "src/io/a.h": "// sleep(1)\n"})

    def test_a_thread_outside_the_list_is_reported(self):
        for text in ("std::thread t;", "std::jthread t;", "pthread_create(&t, 0, f, 0);"):
            with self.subTest(text=text):
                self.assert_reported({"src/cli/a.cc": text + "\n"}, "a thread outside")
        self.assert_clean({"src/cli/a.cc": "std::thread::id i; std::this_thread::get_id();\n"})

    # ---- the tree

    def test_the_build_folder_and_binary_files_are_left_alone(self):
        self.assert_clean({"build/a.h": "\t", "a.bin": "\0\t"})


if __name__ == "__main__":
    unittest.main()
