"""What /usr/bin/epochcost runs; Python has put this folder, with everything that epochcost needs, first on its path."""

import sys

if __name__ == "__main__":
    # SDKs of clouds, for their price sources: pip install --target /usr/local/lib/epochcost 'boto3>=1.40'
    sys.path.append("/usr/local/lib/epochcost")
    from epochcost.cli import main

    sys.exit(main())
