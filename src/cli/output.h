// What every verb prints: one line for an error, a table, an object.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ringloop::cli {

// "ringloop: message" on stderr.
void print_error(std::string_view message);
void print_warning(std::string_view message);

// On stdout with a newline. False when it could not be written: the caller's answer is lost.
bool print_line(std::string_view line);

// Columns aligned, two blanks between them, no blanks at the end of a line; the first row is the
// header. Cells are made one_line.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

// Control characters as \xNN, so that a file's name can break no line and no terminal.
std::string one_line(std::string_view text);

}  // namespace ringloop::cli
