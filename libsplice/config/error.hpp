// What is wrong with a flag or a configuration file, as one line. Thrown while reading one; caught by the
// function that reads it whole.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace splice {

// "packetbridge.yaml:12:7: dscp '99': expected a DSCP from 1 to 62" or "--port 'x': expected a port from 1 to
// 65535"
class ConfigError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
    // `key`: what it is about; `sentence`: the text without the place in a file.
    ConfigError(const std::string& text, std::string key, std::string sentence)
        : std::runtime_error(text), key_(std::move(key)), sentence_(std::move(sentence)) {}

    [[nodiscard]] const std::string& key() const noexcept { return key_; }  // may be empty
    [[nodiscard]] std::string sentence() const { return sentence_.empty() ? what() : sentence_; }

  private:
    std::string key_;
    std::string sentence_;
};

// How an attempt to read a configuration failed.
struct ConfigFailure {
    enum class Kind { wrong, unreadable };  // what is written there, or the system would not let us read it
    Kind kind = Kind::wrong;
    std::string text;  // one line, whole
};

}  // namespace splice
